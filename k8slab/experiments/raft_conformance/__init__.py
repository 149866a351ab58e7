"""Judging the Raft core by cases recorded from a reference implementation."""
