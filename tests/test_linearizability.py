"""The checker of histories against a brute-force twin, and on histories known to be good or bad."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.errors import InputError
from k8slab.simulation.dice import Dice
from k8slab.simulation.linearizability import Operation, check_linearizable, key_value_model, register_model


def naive_linearizable(history):
    """Try every order of the operations that returned, with any of those that did not."""
    closed = [op for op in history if op.returned is not None]
    pending = [op for op in history if op.returned is None]
    for chosen in range(2 ** len(pending)):
        some = closed + [op for index, op in enumerate(pending) if chosen >> index & 1]
        if any(explains(order) for order in permutations(some)):
            return True
    return False


def explains(order):
    state = ()
    for position, operation in enumerate(order):
        if any(later.returned is not None and later.returned < operation.invoked for later in order[position + 1 :]):
            return False
        state, answer = key_value_model(state, operation)
        if operation.returned is not None and operation.answer is not None and operation.answer != answer:
            return False
    return True


operations = st.builds(
    lambda kind, argument, answer, start, length, returns: Operation(
        1, kind, "x", argument, answer, start, start + length if returns else None
    ),
    st.sampled_from(["put", "append", "get"]),
    st.integers(1, 2),
    st.sampled_from([None, (), (1,), (2,), (1, 2), (2, 2)]),
    st.integers(0, 6),
    st.integers(0, 4),
    st.booleans(),
)


@given(st.lists(operations, max_size=5))
def test_the_checker_agrees_with_trying_every_order(history):
    assert bool(check_linearizable(history)) == naive_linearizable(history)


def good_history(seed, operations_=30):
    """Operations that were done one at a time, at a moment within each; some were not answered."""
    dice = Dice(seed, "history")
    states, history, now = {"x": (), "y": ()}, [], 0
    for number in range(operations_):
        now += dice.between(1, 10)
        kind, key = dice.pick(("put", "append", "get", "cas")), dice.pick(("x", "y"))
        # Half of the swaps find what they expect.
        expected = states[key][0] if len(states[key]) == 1 and dice.chance(0.5) else -1
        argument = (expected, number) if kind == "cas" else number
        asked = Operation(number, kind, key, argument, None, 0, None)
        states[key], answer = key_value_model(states[key], asked)
        invoked, returned = now - dice.between(0, 15), now + dice.between(0, 15)
        history.append(asked._replace(answer=answer, invoked=invoked, returned=returned))
        if dice.chance(0.1):
            history[-1] = history[-1]._replace(answer=None, returned=None)
    return history


@pytest.mark.parametrize("seed", range(50))
def test_histories_that_happened_one_at_a_time_are_linearizable(seed):
    history = good_history(seed)
    verdict = check_linearizable(history)
    assert verdict
    for key, order in verdict.order.items():
        assert explains([history[index] for index in order])
        returned = {i for i, op in enumerate(history) if op.key == key and op.returned is not None}
        assert returned <= set(order)


@pytest.mark.parametrize("seed", range(50))
def test_a_late_read_of_a_value_that_was_overwritten_is_not(seed):
    history = good_history(seed)
    after = max(op.returned or op.invoked for op in history) + 100
    history += [
        Operation(90, "put", "x", 1000, (1000,), after, after + 1),
        Operation(91, "put", "x", 2000, (2000,), after + 2, after + 3),
        Operation(92, "get", "x", None, (1000,), after + 4, after + 5),
    ]
    verdict = check_linearizable(history)
    assert not verdict
    assert verdict.key == "x"


def test_a_read_may_see_a_write_that_never_returned_and_then_everybody_must():
    lost = Operation(1, "put", "x", 5, None, 0, None)
    seen = Operation(2, "get", "x", None, (5,), 10, 11)
    forgotten = Operation(2, "get", "x", None, (), 12, 13)
    assert check_linearizable([lost, seen])
    assert check_linearizable([lost, forgotten])
    assert not check_linearizable([lost, seen, forgotten])


def test_an_append_done_twice_is_told():
    once = Operation(1, "append", "x", 5, (5,), 0, 10)
    assert not check_linearizable([once, Operation(2, "get", "x", None, (5, 5), 11, 12)])


def register_history(*rows):
    """Operations of (client, kind, argument, answer, invoked, returned)."""
    return [Operation(client, kind, "r", *rest) for client, kind, *rest in rows]


@pytest.mark.parametrize(
    ("good", "history"),
    [
        # Herlihy and Wing 1990, figure 1, for a register: a read beside a write may see it or not ...
        (True, [(1, "write", 1, None, 0, 10), (2, "read", None, (), 2, 3), (2, "read", None, 1, 5, 6)]),
        # ... but once somebody saw it, nobody reads what was before.
        (False, [(1, "write", 1, None, 0, 10), (2, "read", None, 1, 2, 3), (3, "read", None, (), 5, 6)]),
        (True, [(1, "write", 1, None, 0, 1), (2, "cas", (1, 2), True, 2, 3), (3, "read", None, 2, 4, 5)]),
        (False, [(1, "write", 1, None, 0, 1), (2, "cas", (1, 2), True, 2, 9), (3, "cas", (1, 3), True, 2, 9)]),
        (True, [(1, "write", 1, None, 0, 1), (2, "cas", (1, 2), True, 2, 9), (3, "cas", (1, 3), False, 2, 9)]),
        # Never answered, it may have been done late, or not at all.
        (True, [(1, "write", 1, None, 0, None), (2, "read", None, (), 5, 6), (2, "read", None, 1, 7, 8)]),
        (False, [(1, "write", 1, None, 5, None), (2, "read", None, 1, 1, 2)]),
    ],
)
def test_registers_known_to_be_good_and_bad(good, history):
    assert bool(check_linearizable(register_history(*history), register_model)) is good


def test_a_register_has_no_other_operations():
    with pytest.raises(InputError, match="unknown operation 'append': wanted write, read or cas"):
        check_linearizable(register_history((1, "append", 1, None, 0, 1)), register_model)


def test_hundreds_of_concurrent_operations_are_judged():
    """Fifty clients at once on one key: a search without memory would not end."""
    history = [Operation(n, "put", "x", n % 3, (n % 3,), n // 50 * 100, n // 50 * 100 + 90) for n in range(400)]
    assert check_linearizable(history)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation(1, "get", "x", None, (), 10, 9), "returned at 9, before 10"),
        (Operation(1, "swap", "x", None, (), 0, 9), "unknown operation 'swap'"),
    ],
)
def test_what_is_no_history_is_refused(operation, words):
    with pytest.raises(InputError, match=words):
        check_linearizable([operation])
