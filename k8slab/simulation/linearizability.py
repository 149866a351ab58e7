"""Whether a history of concurrent operations could have happened one at a time.

A history is linearizable if each operation can be given a moment between its call and its
return such that, done in the order of these moments, all answers are right (Herlihy and Wing
1990). The search is Wing and Gong's (1993) with Lowe's memory of what has been tried (2017):
keys are independent of one another, so each is judged on its own.

An operation that never returned may have been done at any moment after its call, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from k8slab.errors import InputError


class Operation(NamedTuple):
    """What a client asked and was answered; times in any unit, returned None if there was no answer.

    kind    : put (argument replaces the values), append (argument is added), get, or cas, whose
              argument is (expected, new) and whose answer tells whether it was done
    answer  : of put, append and get the key's values afterwards; None if not known
    """

    client: int
    kind: str
    key: str
    argument: Any
    answer: Any
    invoked: int
    returned: int | None


@dataclass(frozen=True)
class Verdict:
    """Whether a history is linearizable; if not, of which key, and how far the longest order came.

    order : for each key, indices into the history in an order that explains all answers
    """

    linearizable: bool
    key: str | None
    order: dict[str, list[int]]
    explained: int

    def __bool__(self) -> bool:
        return self.linearizable


State = tuple[Any, ...]
# An operation on a state gives the state after it and its answer.
Model = Callable[[State, Operation], tuple[State, Any]]


def key_value_model(state: State, operation: Operation) -> tuple[State, Any]:
    """A key that holds values: put, append, get; cas on a key that holds one value or none."""
    if operation.kind == "get":
        return state, state
    if operation.kind == "put":
        return (operation.argument,), (operation.argument,)
    if operation.kind == "append":
        after = (*state, operation.argument)
        return after, after
    if operation.kind == "cas":
        expected, new = operation.argument
        done = state == (expected,)
        return ((new,) if done else state), done
    raise InputError(f"unknown operation {operation.kind!r}: wanted put, append, get or cas")


def register_model(state: State, operation: Operation) -> tuple[State, Any]:
    """A register that holds one value: write, read, and cas, whose argument is (expected, new).

    A read is answered with the value, or with () before the first write; a cas with whether it was done, and
    a write's answer says nothing.

    >>> write = Operation(1, "write", "r", 5, None, invoked=0, returned=10)
    >>> early, late = (Operation(2, "read", "r", None, 5, start, start + 1) for start in (4, 11))
    >>> bool(check_linearizable([write, early, late], register_model))
    True
    """
    if operation.kind == "read":
        return state, state[0] if state else ()
    if operation.kind == "write":
        return (operation.argument,), operation.answer
    if operation.kind == "cas":
        expected, new = operation.argument
        done = state == (expected,)
        return ((new,) if done else state), done
    raise InputError(f"unknown operation {operation.kind!r}: wanted write, read or cas")


def check_linearizable(history: Iterable[Operation], model: Model = key_value_model) -> Verdict:
    """Search for an order that explains every answer.

    model : key_value_model or register_model, or a function of your own of a state, a tuple that begins as (), and
            an operation; it gives the state afterwards and the answer

    >>> put = Operation(1, "put", "x", 5, (5,), invoked=0, returned=10)
    >>> stale = Operation(2, "get", "x", None, (), invoked=11, returned=12)
    >>> bool(check_linearizable([put])), bool(check_linearizable([put, stale]))
    (True, False)
    """
    by_key: dict[str, list[tuple[int, Operation]]] = {}
    for position, operation in enumerate(history):
        if operation.returned is not None and operation.returned < operation.invoked:
            raise InputError(f"operation {position} returned at {operation.returned}, before {operation.invoked}")
        by_key.setdefault(operation.key, []).append((position, operation))
    orders: dict[str, list[int]] = {}
    for key, operations in by_key.items():
        order, explained = _search([operation for _, operation in operations], model)
        if order is None:
            return Verdict(False, key, orders, explained)
        orders[key] = [operations[index][0] for index in order]
    return Verdict(True, None, orders, sum(map(len, orders.values())))


_FOREVER: Final = float("inf")


def _search(operations: list[Operation], model: Model) -> tuple[list[int] | None, int]:
    """An order of one key's operations, or None; and how many the longest attempt explained.

    Depth first over what may come next: an operation whose call precedes every return of those
    that are left. Sets of operations done are bits; a set and state that failed once fail again.
    """
    returns = [_FOREVER if op.returned is None else op.returned for op in operations]
    closed = sum(1 << index for index, op in enumerate(operations) if op.returned is not None)
    tried: set[tuple[int, State]] = set()
    order: list[int] = []
    longest = 0
    # A frame is what is done, and the steps that may come next: operation and state after it.
    frames = [(0, _next_steps(operations, returns, 0, (), model))]
    while frames:
        done, steps = frames[-1]
        if done & closed == closed:
            return order, len(order)
        if not steps:
            frames.pop()
            if order:
                order.pop()
            continue
        index, after = steps.pop()
        then = done | 1 << index
        if (then, after) in tried:
            continue
        tried.add((then, after))
        order.append(index)
        longest = max(longest, len(order))
        frames.append((then, _next_steps(operations, returns, then, after, model)))
    return None, longest


def _next_steps(
    operations: list[Operation], returns: list[float], done: int, state: State, model: Model
) -> list[tuple[int, State]]:
    """The operations that may be done next with the right answer, and the state after each."""
    left = [index for index in range(len(operations)) if not done >> index & 1]
    first_return = min((returns[index] for index in left), default=_FOREVER)
    steps = []
    for index in left:
        operation = operations[index]
        if operation.invoked > first_return:
            continue
        after, answer = model(state, operation)
        if operation.returned is not None and operation.answer is not None and operation.answer != answer:
            continue
        if after == state and operation.returned is not None:
            # It changes nothing, so doing it at once hinders no other: no need to try another order.
            return [(index, after)]
        steps.append((index, after))
    return steps
