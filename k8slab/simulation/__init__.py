"""Worlds that run in virtual time: elections by the million, and a laboratory for Raft's core."""
