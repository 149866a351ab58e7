"""Experiments: schedule one policy, compare many, keep what makes a result again."""
