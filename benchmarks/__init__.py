"""The benchmarks: `pytest benchmarks`. Each asserts its answer before its time counts."""
