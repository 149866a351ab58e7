"""The node lifecycle and taint eviction controllers' rules: who is held to be alive, and what goes from a dead node."""
