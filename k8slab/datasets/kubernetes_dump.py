"""What `kubectl get ... -o json` prints, as objects whose fields are checked when they are read."""

from __future__ import annotations

import gc
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Never, TypeAlias

from k8slab.domain.api_parsing import refuse
from k8slab.domain.instants import to_ns
from k8slab.errors import InputError, QuantityError
from k8slab.units import parse_quantity

Source: TypeAlias = str | PathLike[str] | Mapping[str, Any] | IO[str] | IO[bytes]
Exact: TypeAlias = dict[str, Fraction]

# The kinds that are read, of this version alone: others have a Service too, or a Node.
API_VERSIONS: Final = {
    "Node": "v1",
    "Pod": "v1",
    "Namespace": "v1",
    "Service": "v1",
    "ReplicationController": "v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
}
_WITHOUT_NAMESPACE: Final = ("Node", "Namespace")
_WANTED: Final = "`kubectl get nodes,pods -A -o json`"
_LARGEST: Final = 2**63 - 1
_BINARY: Final = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)[KMGTPE]i")
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's cycle collector, which would walk a dump's millions of objects again and again.

    They have no cycles. 55,000 pods (240 MB of JSON) are parsed in 2.5 s so, else in 7.5 s.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def is_object(value: object) -> bool:
    """Whether this is an object of a dump; dict first, as the question is asked a million times."""
    return isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101


@dataclass(frozen=True, eq=False)
class ApiObject:
    """One object of a dump.

    number : its place in the dump, to name it by if it has no name
    """

    kind: str
    content: Mapping[str, Any]
    number: int = 0

    @cached_property
    def name(self) -> str:
        name = self.metadata.get("name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{self.kind} number {self.number} of the dump: metadata.name is {name!r}; wanted a name")
        return name

    @cached_property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "default")

    @cached_property
    def full_name(self) -> str:
        """namespace/name, or the name of what has no namespace."""
        return self.name if self.kind in _WITHOUT_NAMESPACE else f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.full_name}"

    @cached_property
    def metadata(self) -> Fields:
        return self._part("metadata")

    @cached_property
    def spec(self) -> Fields:
        return self._part("spec")

    @cached_property
    def status(self) -> Fields:
        return self._part("status")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels; what YAML took for a number is a text again."""
        labels = self.metadata.get("labels")
        if labels is None:
            return {}
        if not isinstance(labels, Mapping):
            self.metadata.fail("labels", labels, "an object")
        return {str(key): str(value) for key, value in labels.items()}

    def _part(self, key: str) -> Fields:
        part = self.content.get(key)
        if part is not None and not is_object(part):
            named = f"number {self.number} of the dump" if key == "metadata" else self.full_name
            raise InputError(f"{self.kind} {named}: {key} is {part!r}; wanted an object")
        return Fields(self, part or {}, key)


@dataclass(frozen=True, eq=False, slots=True)
class Fields:
    """A JSON object somewhere in an object of a dump; whatever isn't as wanted is an error that says where.

    path : where it stands, such as "spec.containers[0]"
    """

    whose: ApiObject
    content: Mapping[str, Any]
    path: str

    def where(self, key: str) -> str:
        """Object and path of a field, for messages."""
        return f"{self.whose}: {self.path}.{key}"

    def get(self, key: str) -> Any:
        """A value as it is, None where there is none."""
        return self.content.get(key)

    def child(self, key: str) -> Fields | None:
        """The object under a key, None where there is none."""
        value = self.content.get(key)
        if value is None:
            return None
        if not is_object(value):
            self.fail(key, value, "an object")
        return Fields(self.whose, value, f"{self.path}.{key}")

    def inside(self, *keys: str) -> Fields:
        """The object under these keys, an empty one where there is none."""
        here = self
        for key in keys:
            here = here.child(key) or Fields(self.whose, {}, f"{here.path}.{key}")
        return here

    def items(self, key: str) -> list[Fields]:
        """Each object of a list of objects."""
        found = self._list(key)
        for number, item in enumerate(found):
            if not is_object(item):
                self.fail(f"{key}[{number}]", item, "an object")
        return [Fields(self.whose, item, f"{self.path}.{key}[{number}]") for number, item in enumerate(found)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self._list(key)
        for number, item in enumerate(found):
            if not isinstance(item, str):
                self.fail(f"{key}[{number}]", item, "a text")
        return tuple(found)

    def text(self, key: str) -> str:
        """A text, "" where there is none."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(key, value, "a text")
        return value or ""

    def named(self, key: str) -> str:
        """A text that must be there."""
        return self.text(key) or self.fail(key, self.content.get(key), "a text")

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        """One of these texts; without a default it must be there."""
        value = self.text(key) or default
        if value is None or (value not in options and value != default):
            self.fail(key, self.content.get(key), f"one of {', '.join(options)}")
        return value

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number in a range; without a default it must be there."""
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fail(key, value, f"a whole number from {least:,} to {most:,}")
        return int(value)

    def flag(self, key: str) -> bool:
        """True or false, which a missing one is."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, bool):
            self.fail(key, value, "true or false")
        return bool(value)

    def pairs(self, key: str) -> dict[str, str] | None:
        """Texts by text, None where there is no such object."""
        found = self.child(key)
        if found is None:
            return None
        for name, value in found.content.items():
            if not isinstance(value, str):
                found.fail(name, value, "a text")
        return dict(found.content)

    def quantities(self, key: str) -> Exact:
        """The exact quantities of a resource list."""
        found = self.inside(key)
        return {resource: found.quantity(resource) for resource in found.content}

    def quantity(self, key: str) -> Fraction:
        """One quantity, exact; beyond int64 a binary one is as much as int64 holds, as in Kubernetes."""
        value, where = self.content.get(key), self.where(key)
        try:
            exact = parse_quantity(value, where)  # type: ignore[arg-type]  # whatever the dump says
        except QuantityError:
            if not isinstance(value, str) or not _BINARY.fullmatch(value):
                raise
            exact = Fraction(_LARGEST)
        if exact < 0:
            raise InputError(f"{where} is {value!r}; wanted 0 or more")
        return exact

    def instant(self, key: str) -> int | None:
        """Nanoseconds since 1970 of a time, None where there is none."""
        value = self.content.get(key)
        if value is None:
            return None
        instant = to_ns(value) if isinstance(value, datetime) else _instant(value)  # YAML knows times
        if instant is None or not -_LARGEST < instant < _LARGEST:
            self.fail(key, value, "a time such as 2026-01-31T12:00:00Z, from 1678 to 2262")
        return instant

    def fail(self, key: str, found: object, wanted: str) -> Never:
        """Raises the InputError of one field."""
        refuse(self.where(key), found, wanted)

    def _list(self, key: str) -> list[Any]:
        value = self.content.get(key)
        if value is not None and not isinstance(value, list):
            self.fail(key, value, "a list")
        return value or []


def _instant(value: object) -> int | None:
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        whole = datetime.fromisoformat((match[1] + match[3]).upper())
    except ValueError:
        return None
    return to_ns(whole) + int(((match[2] or "") + "0" * 9)[:9])


@dataclass(frozen=True)
class Dump:
    """The objects of a dump by kind, and how many it has of kinds that are not read.

    origin : what messages call it
    """

    origin: str
    objects: Mapping[str, list[ApiObject]]
    others: Counter[str]

    @classmethod
    def read(cls, source: Source) -> Dump:
        """Raises InputError for what is no dump, and for an object that stands twice."""
        origin, documents = _documents(source)
        objects: dict[str, dict[str, ApiObject]] = {kind: {} for kind in API_VERSIONS}
        others: Counter[str] = Counter()
        for number, (kind, version, content) in enumerate(_items(documents, origin)):
            if kind not in API_VERSIONS:
                others[kind] += 1
            elif version not in ("", API_VERSIONS[kind]):
                others[f"{version} {kind}"] += 1
            else:
                one = ApiObject(kind, content, number)
                if objects[kind].setdefault(one.full_name, one) is not one:
                    raise InputError(f"{origin}: {one} stands twice")
        return cls(origin, {kind: list(found.values()) for kind, found in objects.items()}, others)

    def of(self, kind: str) -> list[ApiObject]:
        """The objects of one kind, in the dump's order."""
        return self.objects[kind]

    def found(self) -> str:
        """What is in it, for messages."""
        counts = Counter({kind: len(found) for kind, found in self.objects.items()}) + self.others
        return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "it is empty"


def _items(documents: Iterable[Any], origin: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(kind, API version, object) of every object in lists or alone."""
    for document in documents:
        if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
            raise InputError(f"{origin}: no Kubernetes object with a kind; wanted {_WANTED}")
        kind, version = document["kind"], str(document.get("apiVersion") or "")
        if not kind.endswith("List"):
            yield kind, version, document
            continue
        items, paging = document.get("items"), document.get("metadata")
        if not isinstance(items, list):
            raise InputError(f"{origin}: {kind}.items is {type(items).__name__}; wanted a list")
        if isinstance(paging, Mapping) and paging.get("continue"):
            more = paging.get("remainingItemCount", "an unknown number of")
            raise InputError(f"{origin}: {kind} is one page, {more} objects are on the next; wanted the whole list")
        for number, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise InputError(f"{origin}: {kind}.items[{number}] is {type(item).__name__}; wanted an object")
            if item.get("kind"):
                yield str(item["kind"]), str(item.get("apiVersion") or ""), item
            else:  # in a list of one kind, the list says it for all
                yield kind.removesuffix("List"), version, item


def _documents(source: Source) -> tuple[str, list[Any]]:
    """What messages call the source, and its documents, parsed."""
    if isinstance(source, Mapping):
        return "a dump", [source]
    if isinstance(source, str | PathLike):
        path = Path(source)
        try:
            content: str | bytes = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read a dump from {str(path)!r}: {error.strerror or error}") from error
        return path.name, _parse(content, path.name)
    name = Path(str(getattr(source, "name", "a dump"))).name
    return name, _parse(source.read(), name)


def _parse(content: str | bytes, origin: str) -> list[Any]:
    """JSON or YAML, gzipped or not: told by the content, whatever the file is called."""
    try:
        if isinstance(content, bytes):
            content = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8-sig")
        if content.lstrip()[:1] in ("{", "["):
            return list(_json_documents(content.strip()))
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{origin}: not a JSON dump: {error}") from error
    return _parse_yaml(content, origin)


def _json_documents(content: str) -> Iterator[Any]:
    """One document after another, as several kubectl commands write into one file."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(content):
        document, at = decoder.raw_decode(content, at)
        yield document
        while content[at : at + 1].isspace():
            at += 1


def _parse_yaml(content: str, origin: str) -> list[Any]:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(f"{origin}: no JSON, and YAML needs pyyaml: pip install 'k8slab[yaml]'") from error
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # written in C, 10 times as fast
        return [document for document in yaml.load_all(content, loader) if document is not None]
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: neither JSON nor YAML: {error}") from error
