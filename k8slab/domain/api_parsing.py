"""Selectors, node terms and spread constraints read from Kubernetes' API objects.

Each takes the parsed object, or None where its field is missing, and the path of the field for
messages ("Pod default/web: spec.affinity..."), and raises InputError for what an API server
would refuse. Only a node term may stay wrong: kube-scheduler lets one that doesn't parse match
nothing, so it is kept as it stands unless `strict` is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Never

from k8slab.domain.pod_spec import NodeTerm, NodeTerms, Requirement, Selector, SpreadConstraint
from k8slab.errors import InputError, UnknownName

_LABEL_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS: Final = (*_LABEL_OPERATORS, "Gt", "Lt")
_FIELD_OPERATORS: Final = ("In", "NotIn")
_WHEN: Final = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES: Final = ("Honor", "Ignore")
_TERM: Final = ("matchExpressions", "matchFields")


def refuse(path: str, found: object, wanted: str) -> Never:
    """Raises the InputError of one field."""
    raise InputError(f"{path} is {found!r}; wanted {wanted}")


def selector_of(found: object, path: str) -> Selector | None:
    """A label selector: matchLabels by key, then matchExpressions; None where there is none.

    >>> selector_of({"matchLabels": {"app": "web"}}, "spec.selector")
    (Requirement(key='app', operator='In', values=('web',)),)
    >>> selector_of({}, "spec.selector")
    ()
    """
    if found is None:
        return None
    selector = mapping_of(found, path)
    labels = equality_of(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    expressions = objects_of(selector.get("matchExpressions"), f"{path}.matchExpressions")
    return (*labels, *(_requirement(rule, where, _LABEL_OPERATORS, strict=True) for where, rule in expressions))


def equality_of(found: object, path: str) -> Selector:
    """The plain map of a Service's or ReplicationController's selector, or matchLabels, as rules by key.

    >>> equality_of({"tier": "db", "app": "web"}, "spec.selector")[0].key
    'app'
    """
    labels = mapping_of(found, path)
    return tuple(Requirement(key, "In", (text_of(labels[key], f"{path}.{key}"),)) for key in sorted(labels))


def node_terms_of(found: object, path: str, *, strict: bool = False) -> NodeTerms | None:
    """A node selector's terms; None where there is no selector, which asks for nothing."""
    if found is None:
        return None
    items = objects_of(mapping_of(found, path).get("nodeSelectorTerms"), f"{path}.nodeSelectorTerms")
    return tuple(node_term_of(term, where, strict=strict) for where, term in items)


def preferred_node_terms_of(found: object, path: str, *, strict: bool = False) -> tuple[tuple[int, NodeTerm], ...]:
    """(weight, term) of each in a list of preferred scheduling terms."""
    return tuple(
        (
            whole_of(item.get("weight"), f"{where}.weight", 0, 2**31 - 1),
            node_term_of(item.get("preference"), f"{where}.preference", strict=strict),
        )
        for where, item in objects_of(found, path)
    )


def node_term_of(found: object, path: str, *, strict: bool = False) -> NodeTerm:
    """One node selector term, its rules in their order.

    >>> node_term_of({"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}, "terms[0]")
    NodeTerm(expressions=(Requirement(key='gpu', operator='Exists', values=()),), fields=())
    """
    term = mapping_of(found, path)
    if strict:
        known_only(term, path, _TERM)

    def rules(kind: str, operators: tuple[str, ...]) -> Selector:
        items = objects_of(term.get(kind), f"{path}.{kind}")
        return tuple(_requirement(rule, where, operators, strict) for where, rule in items)

    return NodeTerm(rules("matchExpressions", _NODE_OPERATORS), rules("matchFields", _FIELD_OPERATORS))


def spread_constraint_of(found: object, path: str) -> SpreadConstraint:
    """One topology spread constraint with its defaults filled in; its matchLabelKeys are the caller's to fold in."""
    item = mapping_of(found, path)
    domains = item.get("minDomains")
    return SpreadConstraint(
        topology_key=text_of(item.get("topologyKey"), f"{path}.topologyKey"),
        max_skew=whole_of(item.get("maxSkew"), f"{path}.maxSkew", 1, 2**31 - 1),
        hard=choice_of(item.get("whenUnsatisfiable"), f"{path}.whenUnsatisfiable", _WHEN) == "DoNotSchedule",
        selector=selector_of(item.get("labelSelector"), f"{path}.labelSelector"),
        min_domains=1 if domains is None else whole_of(domains, f"{path}.minDomains", 1, 2**31 - 1),
        honor_affinity=_honors(item, "nodeAffinityPolicy", path, "Honor"),
        honor_taints=_honors(item, "nodeTaintsPolicy", path, "Ignore"),
    )


def _honors(item: Mapping[str, Any], key: str, path: str, default: str) -> bool:
    return choice_of(item.get(key) or default, f"{path}.{key}", _POLICIES) == "Honor"


def _requirement(rule: Mapping[str, Any], path: str, operators: tuple[str, ...], strict: bool) -> Requirement:
    key, operator = (text_of(rule.get(name), f"{path}.{name}") for name in ("key", "operator"))
    values = texts_of(rule.get("values"), f"{path}.values")
    if strict:
        _check(operator, values, path, operators)
    return Requirement(key, operator, values)


def _check(operator: str, values: tuple[str, ...], path: str, operators: tuple[str, ...]) -> None:
    choice_of(operator, f"{path}.operator", operators)
    if operator in ("In", "NotIn") and not values:
        refuse(f"{path}.values", list(values), f"one value or more for {operator}")
    if operator in ("Exists", "DoesNotExist") and values:
        refuse(f"{path}.values", list(values), f"no values for {operator}")
    if operator in ("Gt", "Lt") and len(values) != 1:
        refuse(f"{path}.values", list(values), f"one value for {operator}")


# -- plain values --------------------------------------------------------------


def mapping_of(found: object, path: str) -> Mapping[str, Any]:
    """An object with text keys."""
    if not isinstance(found, Mapping):
        refuse(path, found, "an object")
    for key in found:
        if not isinstance(key, str):
            refuse(path, found, f"keys that are texts, not {key!r}")
    return found


def known_only(found: Mapping[str, Any], path: str, known: tuple[str, ...], what: str = "field") -> None:
    """Raises UnknownName for a key that isn't among these."""
    for key in found:
        if key not in known:
            raise UnknownName(what, key, known, f"It stands in {path}." if path else "")


def objects_of(found: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, object) of each in a list of objects; none where the list is missing."""
    if found is not None and not isinstance(found, list | tuple):
        refuse(path, found, "a list")
    for number, item in enumerate(found or ()):
        yield f"{path}[{number}]", mapping_of(item, f"{path}[{number}]")


def texts_of(found: object, path: str) -> tuple[str, ...]:
    """A list of texts; none where the list is missing."""
    if found is not None and not isinstance(found, list | tuple):
        refuse(path, found, "a list of texts")
    return tuple(text_of(item, f"{path}[{number}]") for number, item in enumerate(found or ()))


def text_of(found: object, path: str) -> str:
    """A text, which may be empty."""
    if not isinstance(found, str):
        refuse(path, found, "a text")
    return found


def choice_of(found: object, path: str, options: tuple[str, ...]) -> str:
    """One of a few texts."""
    if found not in options:
        refuse(path, found, f"one of {', '.join(options)}")
    return str(found)


def whole_of(found: object, path: str, least: int, most: int) -> int:
    """A whole number within bounds."""
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        refuse(path, found, f"a whole number from {least:,} to {most:,}")
    return found
