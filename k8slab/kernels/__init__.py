"""Pure functions over arrays, compiled by numba: the caller's arrays in, the caller's array filled."""
