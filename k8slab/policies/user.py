"""Plug-ins from a notebook cell: a function of arrays, named inputs, nothing registered."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, NodeColumns
from k8slab.domain.resources import column_of
from k8slab.errors import InputError, PluginError, UnknownName
from k8slab.policies.plugins import Decision, Floats, Refusal
from k8slab.policies.plugins.base import scaled_to_100
from k8slab.policies.source_code import code_hash

# What a plug-in may name without declaring it: [R, N] of the nodes, [R] of the pod.
_NODE_INPUTS: Final = ("allocatable", "requested", "used", "free")
_COMMON_INPUTS: Final = (*_NODE_INPUTS, "request")
# Of these a column follows from the node as it is described, whatever runs there.
_STATIC_INPUTS: Final = ("allocatable",)
Normalize = Literal["highest", "lowest"] | None


@dataclass(frozen=True, eq=False, repr=False)
class NodeInput:
    """A per-node array that a plug-in asks for: made by `label`, `taint` and `array`."""

    describe: str
    read: Callable[[NodeColumns], npt.NDArray[Any]]

    def __eq__(self, value: object) -> NodeInput:  # type: ignore[override]
        """bool[N]: equal to a value."""
        return NodeInput(f"{self.describe} == {value!r}", lambda nodes: _as_mask(self.read(nodes) == value))

    def __ne__(self, value: object) -> NodeInput:  # type: ignore[override]
        """bool[N]: not equal to a value."""
        return NodeInput(f"{self.describe} != {value!r}", lambda nodes: _as_mask(self.read(nodes) != value))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"NodeInput({self.describe})"

    def isin(self, values: Sequence[object]) -> NodeInput:
        """bool[N]: equal to one of these values."""
        wanted = list(values)
        return NodeInput(
            f"{self.describe}.isin({wanted!r})",
            lambda nodes: np.array([item in wanted for item in self.read(nodes).tolist()], dtype=np.bool_),
        )

    def exists(self) -> NodeInput:
        """bool[N]: the node has it."""
        return NodeInput(
            f"{self.describe}.exists()",
            lambda nodes: np.array([item is not None for item in self.read(nodes).tolist()], dtype=np.bool_),
        )

    def number(self, missing: float = 0.0) -> NodeInput:
        """float64[N]: a text label read as a number; `missing` where a node has none."""

        def read(nodes: NodeColumns) -> npt.NDArray[Any]:
            try:
                values = [missing if item is None else float(item) for item in self.read(nodes).tolist()]
                return np.array(values, dtype=np.float64)
            except ValueError as error:
                raise PluginError(f"{self.describe}.number(): {error}") from None

        return NodeInput(f"{self.describe}.number({missing!r})", read)


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array, which the user's function can't write: others read it too."""
    view = values.view()
    view.flags.writeable = False
    return view


def _as_mask(value: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(value, dtype=np.bool_)


def label(key: str) -> NodeInput:
    """A node label as an input of a plug-in: object[N], None where a node lacks it.

    Where no node has it but all is one typing mistake away from one that some have, a UserWarning says so.

    >>> label("spot") == "true"
    NodeInput(label('spot') == 'true')
    """

    def read(nodes: NodeColumns) -> npt.NDArray[Any]:
        column: Codes[str] | None = nodes.labels.get(key)
        near = [] if column is not None else difflib.get_close_matches(key, nodes.labels, n=1, cutoff=0.75)
        if near:
            warnings.warn(f"no node has the label {key!r}; did you mean {near[0]!r}?", UserWarning, stacklevel=2)
        return np.full(len(nodes), None, dtype=object) if column is None else column.to_array()

    return NodeInput(f"label({key!r})", read)


def taint(key: str) -> NodeInput:
    """bool[N] as an input of a plug-in: the node has a taint of this key."""

    def read(nodes: NodeColumns) -> npt.NDArray[Any]:
        tainted = [any(item.key == key for item in taints) for taints in nodes.taints.values]
        return np.array([*tainted, False], dtype=np.bool_)[nodes.taints.codes]

    return NodeInput(f"taint({key!r})", read)


def array(name: str) -> NodeInput:
    """A per-node array attached by `Cluster.with_arrays(name=...)` as an input of a plug-in."""

    def read(nodes: NodeColumns) -> npt.NDArray[Any]:
        if name not in nodes.arrays:
            raise UnknownName("array of nodes", name, nodes.arrays, "Attach it with cluster.with_arrays(...).")
        return nodes.arrays[name]

    return NodeInput(f"array({name!r})", read)


class kernel:  # a decorator, named as numba's users expect
    """Compile a plug-in's function with numba when it is first called.

    The same signature as in plain numpy. What numba can't compile is a PluginError
    that says where. Nothing is cached on disk: a cell has no file.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._compiled: Callable[..., None] | None = None
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<k8slab.kernel {self._function.__name__}>"

    def __call__(self, *arrays: Any) -> None:
        """Run the compiled function."""
        from numba import njit
        from numba.core.errors import NumbaError

        if any(np.asarray(array).dtype.kind == "O" for array in arrays):
            raise PluginError(
                f"plug-in {self._function.__name__!r} wants a label's text, which numba can't take; declare what is to "
                'be known of it, as in k8slab.label("zone") == "a" or k8slab.label("rack").number()'
            )
        if self._compiled is None:
            self._compiled = njit(error_model="numpy", nogil=True)(self._function)
        try:
            self._compiled(*arrays)
        except NumbaError as error:
            told = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise PluginError(
                f"numba can't compile plug-in {self._function.__name__!r}: {' '.join(told[:6])} "
                "(without @k8slab.kernel it runs in plain numpy)"
            ) from None


@dataclass(frozen=True, eq=False)
class UserPlugin:
    """A user's function with the inputs it declared; see `score_plugin` and `filter_plugin`."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    declared: dict[str, NodeInput]

    @property
    def static(self) -> bool:
        """Depends on what describes the node alone: not on the pod, nor on what runs there."""
        return all(
            name in self.declared or any(name == known or name.startswith(f"{known}_") for known in _STATIC_INPUTS)
            for name in self.parameters[:-1]
        )

    def run(self, decision: Decision, out: npt.NDArray[Any]) -> None:
        """Call the function on this decision's arrays; it fills `out`."""
        arrays = [self._input(name, decision) for name in self.parameters[:-1]]
        try:
            returned = self.function(*arrays, out)
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"plug-in {self.name!r} failed: {type(error).__name__}: {error}") from error
        if returned is not None:
            raise PluginError(
                f"plug-in {self.name!r} returned {type(returned).__name__}; it must fill {self.parameters[-1]!r} "
                f"in place, as in {self.parameters[-1]}[:] = ..."
            )

    def _input(self, name: str, decision: Decision) -> npt.NDArray[Any]:
        if name in self.declared:
            values = np.asarray(self.declared[name].read(decision.nodes))
            if values.shape[:1] != (len(decision.nodes),):
                raise PluginError(
                    f"plug-in {self.name!r}: input {name!r} has shape {values.shape}, not ({len(decision.nodes)},)"
                )
            return _read_only(values)
        source, _, column = name.partition("_")
        owner = decision if source in ("used", "free", "request") else decision.nodes
        whole = _read_only(getattr(owner, source))
        if not column:
            return whole
        columns = decision.schema.columns
        if column not in columns:
            raise UnknownName(f"column of plug-in {self.name!r}", column, columns)
        return np.asarray(whole[columns.index(column)])

    def arguments(self) -> dict[str, Any]:
        """The inputs declared and a hash of the code, for manifests."""
        declared = {name: item.describe for name, item in self.declared.items()}
        return {**declared, "code_sha256": code_hash(self.function)}


def _user_plugin(function: Callable[..., Any], name: str | None, declared: dict[str, Any], out: str) -> UserPlugin:
    parameters = tuple(inspect.signature(function).parameters)
    called = str(name or getattr(function, "__name__", type(function).__name__))
    if not parameters or parameters[-1] != out:
        raise PluginError(f"plug-in {called!r}: its last parameter must be {out!r}, to be filled; it has {parameters}")
    for key, value in declared.items():
        if not isinstance(value, NodeInput):
            raise PluginError(
                f"plug-in {called!r}: {key}={value!r} is no input; use k8slab.label(...), taint(...) or array(...)"
            )
        if key not in parameters:
            raise PluginError(f"plug-in {called!r} declares {key!r} but its function has only {parameters}")
    for parameter in parameters[:-1]:
        known = parameter in declared or any(
            parameter == common or parameter.startswith(f"{common}_") for common in _COMMON_INPUTS
        )
        if not known:
            examples = [*_COMMON_INPUTS, *(f"free_{column_of(resource)}" for resource in ("cpu", "memory"))]
            raise UnknownName(
                f"input of plug-in {called!r}", parameter, [*declared, *examples], "Declare others in the decorator."
            )
    return UserPlugin(called, function, parameters, dict(declared))


@dataclass(frozen=True, eq=False)
class UserScore:
    """A user's score, with its weight; whole numbers keep it on the fast paths."""

    plugin: UserPlugin
    weight: float
    normalizing: Normalize = None
    highest: float = np.inf

    @property
    def name(self) -> str:
        """The function's name, or the one given."""
        return self.plugin.name

    def raw(self, decision: Decision) -> Floats:
        """float64[N]. Raises PluginError for NaN or infinity."""
        score = np.full(len(decision.nodes), np.nan)
        self.plugin.run(decision, score)
        wrong = np.flatnonzero(~np.isfinite(score))
        if len(wrong):
            first = int(wrong[0])
            raise PluginError(
                f"plug-in {self.name!r} left {score[first]} as the score of {len(wrong):,} of {len(score):,} nodes, "
                f"first {decision.nodes.names[first]!r}, for pod {decision.pods.names[decision.pod]!r}; "
                "every node needs a finite number"
            )
        return score

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """As kube-scheduler's default normalisation, where the plug-in asked for it."""
        if self.normalizing is None:
            return raw
        return scaled_to_100(raw, decision.feasible, lowest_best=self.normalizing == "lowest")

    def arguments(self) -> dict[str, Any]:
        """The inputs declared, how it is normalised and a hash of the code, for manifests."""
        normalized = {} if self.normalizing is None else {"normalize": self.normalizing}
        return {**self.plugin.arguments(), **normalized}


@dataclass(frozen=True, eq=False)
class UserFilter:
    """A user's filter: nodes where it leaves False can't have the pod."""

    plugin: UserPlugin

    @property
    def name(self) -> str:
        """The function's name, or the one given."""
        return self.plugin.name

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes that the function refused."""
        feasible = np.ones(len(decision.nodes), dtype=np.bool_)
        self.plugin.run(decision, feasible)
        return [Refusal(f"refused by {self.name}", ~feasible)]

    def arguments(self) -> dict[str, Any]:
        """The inputs declared and a hash of the code, for manifests."""
        return self.plugin.arguments()


def score_plugin(
    function: Callable[..., Any] | None = None,
    *,
    weight: float = 1,
    name: str | None = None,
    normalize: Normalize = None,
    **inputs: NodeInput,
) -> Any:
    """Make a score of a function of arrays that fills its last parameter, `score`.

    The function names what it needs: `allocatable`, `requested`, `used` (requested
    once the pod is there), `free`: int64[R, N]; `request`: int64[R]; one resource of
    these as `free_cpu_milli`: [N]; and what the decorator declares with
    `k8slab.label`, `taint` or `array`: [N]. Higher is better; the total is the sum of
    weight * score. normalize="highest" scales the highest feasible score to 100,
    "lowest" turns it round. Raises PluginError for a function it can't use.

    >>> @score_plugin(weight=2, spot=label("spot") == "true")
    ... def prefer_spot(spot, score):
    ...     score[:] = np.where(spot, 100.0, 0.0)
    >>> prefer_spot.name, prefer_spot.weight
    ('prefer_spot', 2)
    """
    _check_weight(name or "score plug-in", weight)
    if normalize not in (None, "highest", "lowest"):
        raise InputError(f'normalize={normalize!r} is not one of None, "highest", "lowest"')

    def wrap(wrapped: Callable[..., Any]) -> UserScore:
        return UserScore(_user_plugin(wrapped, name, inputs, "score"), weight, normalize)

    return wrap if function is None else wrap(function)


def filter_plugin(function: Callable[..., Any] | None = None, *, name: str | None = None, **inputs: NodeInput) -> Any:
    """Make a filter of a function that sets its last parameter, `feasible`, False where a pod can't go.

    feasible : bool[N], True at first. The other parameters are as in `score_plugin`.

    >>> @filter_plugin(rack=label("rack"))
    ... def has_rack(rack, feasible):
    ...     feasible[:] = rack != None
    >>> has_rack.name
    'has_rack'
    """

    def wrap(wrapped: Callable[..., Any]) -> UserFilter:
        return UserFilter(_user_plugin(wrapped, name, inputs, "feasible"))

    return wrap if function is None else wrap(function)


def _check_weight(name: str, weight: float) -> None:
    if not isinstance(weight, int | float | np.number) or not np.isfinite(weight) or weight < 0:
        raise InputError(f"weight of {name!r} is {weight!r}; it must be a number from 0 up")
