"""Karpenter's rules: disruption budgets with their schedules, and what a disruption costs and is worth."""
