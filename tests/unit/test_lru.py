"""A bounded mapping: what was used longest ago is forgotten, and nothing else."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from twofold_server.commands.lru import Lru

keys = st.sampled_from("abcdef")


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    lru: Lru[int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert [lru.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_that_is_put_again_replaces_the_one_before_and_counts_as_used() -> None:
    lru: Lru[int] = Lru(2)
    for key, value in [("a", 1), ("b", 2), ("a", 3), ("c", 4)]:
        lru.put(key, value)
    assert [lru.get(key) for key in "abc"] == [3, None, 4]


def test_a_value_is_dropped_only_by_who_holds_the_one_that_is_kept() -> None:
    lru: Lru[object] = Lru(2)
    old, new = object(), object()
    lru.put("a", old)
    lru.put("a", new)
    lru.drop("a", old)
    assert lru.get("a") is new
    lru.drop("a", new)
    lru.drop("a", new)
    assert lru.get("a") is None


@given(
    st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["get", "put", "drop"]), keys, st.integers(1, 3)))
)
def test_it_keeps_what_a_naive_model_keeps(capacity: int, steps: list[tuple[str, str, int]]) -> None:
    lru, model = Lru[int](capacity), OrderedDict[str, int]()
    for step, key, value in steps:
        if step == "get":
            assert lru.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        elif step == "put":
            lru.put(key, value)
            model[key] = value
            model.move_to_end(key)
            if len(model) > capacity:
                model.popitem(last=False)
        else:
            lru.drop(key, value)
            if model.get(key) == value:
                del model[key]
    assert {key: lru.get(key) for key in "abcdef"} == {key: model.get(key) for key in "abcdef"}
