"""Karpenter's rules: batches, budgets and their schedules, what a disruption costs and is worth, what may go."""
