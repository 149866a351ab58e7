"""Values and rules: entities, ports, resources. Standard library and numpy as plain data."""
