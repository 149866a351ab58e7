"""HorizontalPodAutoscaler v2: pods sorted, metrics read, proposals stabilised and limited, conditions set.

    values         the API's fields, and what the autoscaler sees of a pod
    pod_groups     which pods count: ready, unready, missing, ignored; their requests
    proposals      how many replicas one metric wants
    recommendations  the memory of proposals, and the windows over it
    rates          limits to the steps, and the memory of steps
    horizontal     one reconciliation, with its conditions

The threshold rule of the orchestration API is no HPA, and stays in domain/scaling.py.
"""
