"""Frozen dataclasses as JSON text and back, for the cells and files of what has many parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> str:
    """One line; fields that have their default are left out.

    >>> from k8slab.domain.pod_spec import HostPort, PodSpec
    >>> to_json(PodSpec(ports=(HostPort(80),)))
    '{"ports":[{"port":80}]}'
    """
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def from_json(kind: Any, text: str) -> Any:
    """The value of a type that `to_json` wrote: a dataclass, or a tuple or mapping of some. ValueError if it is none.

    >>> from k8slab.domain.pod_spec import PodSpec
    >>> from_json(PodSpec, '{"gates":["quota"]}').gates
    ('quota',)
    """
    return _value(kind, json.loads(text))


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        own = [(field, getattr(value, field.name)) for field in _fields(type(value))]
        return {field.name: _plain(part) for field, part in own if part != _default(field)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _value(kind: Any, found: Any) -> Any:
    """What was found as this type, which says how to read it and what is wrong with it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if found is None else _value(next(part for part in parts if part is not NoneType), found)
    if origin is tuple:
        return _tuple(parts, found)
    if is_dataclass(kind):
        return _dataclass(kind, found)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(parts[1], item) for key, item in _checked(dict, found).items()}
    return _checked(kind, found)


def _tuple(parts: tuple[Any, ...], found: Any) -> tuple[Any, ...]:
    items = _checked(list, found)
    kinds = [parts[0]] * len(items) if parts[-1] is Ellipsis else parts
    if len(kinds) != len(items):
        raise ValueError(f"{len(items)} values; wanted {len(kinds)}")
    return tuple(_value(kind, item) for kind, item in zip(kinds, items, strict=True))


def _dataclass(kind: Any, found: Any) -> Any:
    content, hints = _checked(dict, found), _hints(kind)
    unknown = set(content) - {field.name for field in _fields(kind)}
    missing = {field.name for field in _fields(kind) if _default(field) is MISSING} - set(content)
    if unknown or missing:
        raise ValueError(f"{kind.__name__} with unknown {sorted(unknown)} and without {sorted(missing)}")
    return kind(**{name: _value(hints[name], item) for name, item in content.items()})


def _checked(kind: type[T], found: Any) -> T:
    if type(found) is not kind:  # a bool is no int here
        raise ValueError(f"{found!r} is no {kind.__name__}")
    return found


@lru_cache
def _fields(kind: type[Any]) -> tuple[Field[Any], ...]:
    return tuple(field for field in fields(kind) if field.init)


@lru_cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
