"""Receipts as canonical JSON, and the chain's links."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.receipt import (
    GENESIS,
    Checkpoint,
    Gap,
    Receipt,
    canonical,
    digest,
    entry,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COUNTS = st.integers(0, 2**53 - 1)


def some(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that receipts are made of."""
    if kind in (str, int, type(None)):
        return {str: TEXT, int: COUNTS}.get(kind, st.none())
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(some(get_args(kind)[0]), max_size=2).map(tuple)
    if get_args(kind):
        return st.one_of([some(each) for each in get_args(kind)])
    members = get_type_hints(kind)
    return st.builds(kind, **{name: some(each) for name, each in members.items()})


@pytest.mark.parametrize("kind", [Receipt, Gap, Checkpoint])
@given(data=st.data())
def test_what_is_hashed_is_canonical(kind: type[Any], data: st.DataObject) -> None:
    """Another library's RFC 8785 gives the same bytes, whatever is in there."""
    content = canonical(data.draw(some(kind)))
    assert rfc8785.dumps(json.loads(content)) == content


@given(some(Receipt), COUNTS)
def test_an_entry_is_canonical(receipt: Receipt, seq: int) -> None:
    """So are the links of the chain, and what is in them is the receipt."""
    made = entry(seq, GENESIS, "receipt", canonical(receipt))
    assert rfc8785.dumps(json.loads(made)) == made
    assert json.loads(made)["receipt"] == json.loads(canonical(receipt))


def test_a_gap_is_a_link_too() -> None:
    """What could not be kept stands in the chain."""
    gap = Gap(from_us=1, lost=3, software="fallback", until_us=9, why="the disk was full")
    made = entry(7, digest(b"6"), "gap", canonical(gap))
    assert rfc8785.dumps(json.loads(made)) == made
    assert json.loads(made)["gap"]["lost"] == 3
