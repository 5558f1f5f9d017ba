"""Which sequences begin alike: a compressed trie of tokens (a radix tree). Pure.

Rules of this file:
- Tokens are *packed*, four bytes each, so that comparing and cutting run in C: finding a prompt
  of 12,000 tokens among a hundred others takes well under a millisecond.
- A trie never changes. `insert` and `remove` give a new one that shares every branch off the
  path with the old (path copying: Driscoll, Sarnak, Sleator, Tarjan, "Making Data Structures
  Persistent", 1989). A reader on another thread keeps the trie it took; no lock is needed.
- Every leaf holds a value. A path may be as deep as there are values (each the beginning of the
  next), so nothing here recurses.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

TOKEN_BYTES = array("i").itemsize

V = TypeVar("V")


def pack(tokens: Sequence[int]) -> bytes:
    """Tokens as native 32-bit integers, one after the other."""
    return array("i", tokens).tobytes()


def unpack(packed: bytes) -> tuple[int, ...]:
    """The tokens of a packed sequence."""
    return tuple(array("i", packed))


def length(packed: bytes) -> int:
    """How many tokens a packed sequence has."""
    return len(packed) // TOKEN_BYTES


def common(one: bytes, other: bytes) -> int:
    """How many tokens two packed sequences have in common from the start."""
    low, high = 0, min(length(one), length(other))
    # Halving compares each byte about once, in C.
    while low < high:
        middle = (low + high + 1) // 2
        begin, end = low * TOKEN_BYTES, middle * TOKEN_BYTES
        low, high = (middle, high) if one[begin:end] == other[begin:end] else (low, middle - 1)
    return low


class _Node(Generic[V]):
    """The tokens that lead here from the parent, the values that end here, and what goes on,
    by its first token. Never changed once made."""

    __slots__ = ("children", "label", "values")

    def __init__(
        self, label: bytes, values: tuple[V, ...], children: Mapping[bytes, _Node[V]]
    ) -> None:
        self.label = label
        self.values = values
        self.children = children

    def below(self, without: _Node[V] | None = None) -> Iterator[V]:
        """The values here and further on, but not in the branch `without`."""
        nodes = [self]
        while nodes:
            node = nodes.pop()
            yield from node.values
            nodes += (child for child in node.children.values() if child is not without)


class TokenTrie(Generic[V]):
    """Values by the packed tokens they stand for; several may stand for the same."""

    def __init__(self, root: _Node[V] | None = None) -> None:
        self._root: _Node[V] = root or _Node(b"", (), {})

    def __repr__(self) -> str:
        return f"<TokenTrie values={sum(1 for _ in self._root.below())}>"

    def alike(self, tokens: bytes) -> Iterator[tuple[int, V]]:
        """Each value with the number of tokens that it begins alike, the most first; those that
        begin otherwise are left out."""
        inner: _Node[V] | None = None
        for depth, node in reversed(list(self._path(tokens))):
            if depth == 0:
                return
            for value in node.below(without=inner):
                yield depth, value
            inner = node

    def insert(self, tokens: bytes, value: V) -> TokenTrie[V]:
        """A trie with this value more."""
        above: list[_Node[V]] = []
        node, offset = self._root, 0
        while offset < len(tokens):
            above.append(node)
            child = node.children.get(tokens[offset : offset + TOKEN_BYTES])
            if child is None:
                return _joined(above, _Node(tokens[offset:], (value,), {}))
            cut = TOKEN_BYTES * common(child.label, tokens[offset : offset + len(child.label)])
            node = child if cut == len(child.label) else _split(child, cut)
            offset += cut
        return _joined(above, _Node(node.label, (*node.values, value), node.children))

    def remove(self, tokens: bytes, value: V) -> TokenTrie[V]:
        """A trie without this value. Raises `KeyError` if it is not there under these tokens."""
        *above, (depth, node) = self._path(tokens)
        ended = TOKEN_BYTES * depth == len(tokens) and _ends(above, node, depth)
        if not ended or value not in node.values:
            raise KeyError(value)
        values = list(node.values)
        values.remove(value)
        rest = _Node(node.label, tuple(values), node.children)
        return _joined([parent for _, parent in above], rest)

    def _path(self, tokens: bytes) -> Iterator[tuple[int, _Node[V]]]:
        """The nodes on the way, each with the tokens in common up to its end or the parting."""
        depth, node = 0, self._root
        yield depth, node
        while child := node.children.get(_at(tokens, depth)):
            begin = depth * TOKEN_BYTES
            shared = common(child.label, tokens[begin : begin + len(child.label)])
            depth, node = depth + shared, child
            yield depth, node
            if shared < length(child.label):
                return


def _at(tokens: bytes, index: int) -> bytes:
    return tokens[index * TOKEN_BYTES : (index + 1) * TOKEN_BYTES]


def _ends(above: Sequence[tuple[int, _Node[V]]], node: _Node[V], depth: int) -> bool:
    """Whether the way ends where the node does, not within its label."""
    begun = above[-1][0] if above else 0
    return depth - begun == length(node.label)


def _split(node: _Node[V], cut: int) -> _Node[V]:
    """The same node as two, the first with `cut` bytes of the label."""
    rest = _Node(node.label[cut:], node.values, node.children)
    return _Node(node.label[:cut], (), {rest.label[:TOKEN_BYTES]: rest})


def _joined(above: Sequence[_Node[V]], node: _Node[V]) -> TokenTrie[V]:
    """The trie in which `node` takes the place of its forerunner under `above`, root first."""
    for parent in reversed(above):
        first = node.label[:TOKEN_BYTES]
        children = {key: child for key, child in parent.children.items() if key != first}
        if kept := _needed(node):
            children[first] = kept
        node = _Node(parent.label, parent.values, children)
    return TokenTrie(node)


def _needed(node: _Node[V]) -> _Node[V] | None:
    """A node without values is left out, or made one with its only child."""
    if node.values or len(node.children) > 1:
        return node
    for child in node.children.values():
        return _Node(node.label + child.label, child.values, child.children)
    return None
