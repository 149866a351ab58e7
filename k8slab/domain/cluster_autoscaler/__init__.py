"""Cluster-autoscaler's rules: how many nodes to add, of which group, and which may go.

limiter          how many nodes one estimate may add
snapshot         the nodes and pods that an estimate tries on, with the filters it knows
estimator        first-fit decreasing over one template node
expanders        which group's option is best, and chains of such choices
utilization      how full a node is, as scaling down sees it
scale_down       which nodes are unneeded, and since long enough
deletion_budget  how many of them go at once
"""
