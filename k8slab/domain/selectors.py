"""Which labels match which rules: Kubernetes' selectors, for one object or for a column of many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Names
from k8slab.domain.pod_spec import NodeTerm, NodeTerms, Requirement, Selector

Mask = npt.NDArray[np.bool_]
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_INT64: Final = 2**63


def value_matches(rule: Requirement, value: str | None) -> bool:
    """Whether a label's value, None where there is none, is as one rule of a label selector wants it.

    >>> value_matches(Requirement("app", "NotIn", ("web",)), None)
    True
    """
    if rule.operator == "In":
        return value is not None and value in rule.values
    if rule.operator == "NotIn":
        return value is None or value not in rule.values
    if rule.operator == "Exists":
        return value is not None
    return rule.operator == "DoesNotExist" and value is None


def node_value_matches(rule: Requirement, value: str | None) -> bool:
    """The same by a rule of a node selector, which also has Gt and Lt; one that doesn't parse matches nothing.

    >>> node_value_matches(Requirement("cores", "Gt", ("9",)), "010")
    True
    """
    if rule.operator in ("Gt", "Lt"):
        bound = _int64(rule.values[0]) if len(rule.values) == 1 else None
        number = None if value is None else _int64(value)
        if bound is None or number is None:
            return False
        return number > bound if rule.operator == "Gt" else number < bound
    if bool(rule.values) != (rule.operator in ("In", "NotIn")):
        return False
    return value_matches(rule, value)


def selects(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches these labels: None matches nothing, an empty one everything."""
    return selector is not None and all(value_matches(rule, labels.get(rule.key)) for rule in selector)


def _int64(text: str) -> int | None:
    number = int(text) if _INTEGER.fullmatch(text) else _INT64
    return number if -_INT64 <= number < _INT64 else None


# -- columns -------------------------------------------------------------------


def selector_mask(selector: Selector | None, labels: Mapping[str, Codes[str]], count: int) -> Mask:
    """bool[count]: which rows a label selector matches."""
    if selector is None:
        return np.zeros(count, dtype=np.bool_)
    mask = np.ones(count, dtype=np.bool_)
    for rule in selector:
        mask &= _rule_mask(rule, labels.get(rule.key), count, value_matches)
    return mask


def node_terms_mask(terms: NodeTerms | None, labels: Mapping[str, Codes[str]], names: Names) -> Mask:
    """bool[N]: which nodes match any of the terms; None asks for nothing, so all do."""
    if terms is None:
        return np.ones(len(names), dtype=np.bool_)
    mask = np.zeros(len(names), dtype=np.bool_)
    for term in terms:
        mask |= node_term_mask(term, labels, names)
    return mask


def node_term_mask(term: NodeTerm, labels: Mapping[str, Codes[str]], names: Names) -> Mask:
    """bool[N]: which nodes match one term; one without any rule matches none."""
    if not term.expressions and not term.fields:
        return np.zeros(len(names), dtype=np.bool_)
    mask = np.ones(len(names), dtype=np.bool_)
    for rule in term.expressions:
        mask &= _rule_mask(rule, labels.get(rule.key), len(names), node_value_matches)
    for rule in term.fields:
        mask &= _field_mask(rule, names)
    return mask


def _rule_mask(rule: Requirement, column: Codes[str] | None, count: int, matches: Any) -> Mask:
    if column is None:
        return np.full(count, matches(rule, None), dtype=np.bool_)
    if rule.operator == "In" and len(rule.values) == 1:
        # Each of a thousand deployments asks for one of a thousand values: the others needn't be looked at.
        return column.equals(rule.values[0])
    # By value, not by row: a column has few.
    verdicts = [matches(rule, value) for value in column.values]
    return np.array([*verdicts, matches(rule, None)], dtype=np.bool_)[column.codes]


def _field_mask(rule: Requirement, names: Names) -> Mask:
    """Only the name, and exactly one value: what else a field may ask matches nothing."""
    if rule.key != "metadata.name" or len(rule.values) != 1 or rule.operator not in ("In", "NotIn"):
        return np.zeros(len(names), dtype=np.bool_)
    mask = np.zeros(len(names), dtype=np.bool_)
    row = names.row(rule.values[0])
    if row >= 0:
        mask[row] = True
    return mask if rule.operator == "In" else ~mask
