"""What the API server admits into a namespace: ResourceQuota and LimitRange.

    resource_lists  arithmetic on amounts by resource
    pods            what a pod requests and may use, as a whole
    scopes          which objects a quota counts
    usage           what an object uses of a quota
    quota           whether an object may enter
    limit_range     defaults and bounds of containers, pods and claims

Amounts are exact: Fractions as units.parse_quantity gives them, or ints.
"""
