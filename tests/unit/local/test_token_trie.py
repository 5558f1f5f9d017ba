from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.token_trie import TokenTrie, common, length, pack, unpack

# Few different tokens and short sequences: most pairs begin alike.
sequences = st.lists(st.integers(0, 2), max_size=8).map(tuple)


def naive_common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def build(held: list[tuple[int, ...]]) -> TokenTrie[int]:
    trie: TokenTrie[int] = TokenTrie()
    for value, tokens in enumerate(held):
        trie = trie.insert(pack(tokens), value)
    return trie


def naive_alike(held: dict[int, tuple[int, ...]], tokens: tuple[int, ...]) -> set[tuple[int, int]]:
    shared = {(naive_common(each, tokens), value) for value, each in held.items()}
    return {(depth, value) for depth, value in shared if depth}


@given(tokens=st.lists(st.integers(0, 2**31 - 1)))
def test_packing(tokens: list[int]) -> None:
    """What is packed comes back, and its length is known."""
    assert unpack(pack(tokens)) == tuple(tokens)
    assert length(pack(tokens)) == len(tokens)


@given(one=sequences, other=sequences)
def test_common(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """The common beginning is the longest one."""
    assert common(pack(one), pack(other)) == naive_common(one, other)


@given(held=st.lists(sequences, max_size=12), wanted=sequences)
def test_alike(held: list[tuple[int, ...]], wanted: tuple[int, ...]) -> None:
    """Every value that begins alike is found once with its common length, the longest first."""
    found = list(build(held).alike(pack(wanted)))
    assert set(found) == naive_alike(dict(enumerate(held)), wanted)
    assert len(found) == len(set(found))
    depths = [depth for depth, _ in found]
    assert depths == sorted(depths, reverse=True)


@given(held=st.lists(sequences, max_size=12), gone=st.sets(st.integers(0, 11)), wanted=sequences)
def test_remove(held: list[tuple[int, ...]], gone: set[int], wanted: tuple[int, ...]) -> None:
    """What is removed is found no more, what stays is found as before."""
    trie, left = build(held), dict(enumerate(held))
    for value in gone & left.keys():
        trie = trie.remove(pack(left.pop(value)), value)
    assert set(trie.alike(pack(wanted))) == naive_alike(left, wanted)


@given(held=st.lists(sequences, max_size=12))
def test_empty_again(held: list[tuple[int, ...]]) -> None:
    """A trie from which everything was removed holds nothing, whatever was in it."""
    trie = build(held)
    for value, tokens in enumerate(held):
        trie = trie.remove(pack(tokens), value)
    assert repr(trie) == "<TokenTrie values=0>"
    assert trie._root.children == {}


def test_a_reader_keeps_what_it_took() -> None:
    """A change makes another trie; the one that a reader holds stays as it was."""
    before = build([(1, 2, 3)])
    after = before.insert(pack((1, 2, 4)), 1).remove(pack((1, 2, 3)), 0)
    assert list(before.alike(pack((1, 2, 4)))) == [(2, 0)]
    assert list(after.alike(pack((1, 2, 4)))) == [(3, 1)]


def test_nested() -> None:
    """A conversation's turns, each the beginning of the next, are all found, the last first."""
    turns = [pack(range(turn)) for turn in range(1, 200)]
    trie: TokenTrie[int] = TokenTrie()
    for turn, tokens in enumerate(turns, 1):
        trie = trie.insert(tokens, turn)
    assert list(trie.alike(turns[-1])) == [(turn, turn) for turn in range(199, 0, -1)]


@pytest.mark.parametrize("tokens", [(1, 2), (1, 2, 3, 4), (2,), ()])
def test_remove_what_is_not_there(tokens: tuple[int, ...]) -> None:
    """Removing under other tokens is an error."""
    with pytest.raises(KeyError):
        build([(1, 2, 3)]).remove(pack(tokens), 0)
