"""Whether receipts are what was written: one by one, and the chain as a whole.

What this finds: any entry that was changed, put in or taken out behind the last checkpoint, and
any checkpoint that was not signed by one of the keys. What it cannot find: the end of a chain that
was cut off at a checkpoint, unless somebody holds a receipt of what came after; and whatever the
holder of the signing key does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fallback.core.receipt import GENESIS, Checkpoint, Receipt, digest
from fallback.storage.keys import CHECKPOINT_TYPE, RECEIPT_TYPE, Unverified, verified
from fallback.storage.ledger import Entry, Signed


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, read."""

    seq: int
    previous: str
    receipt: Receipt | None = None
    gap: Any = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"entry {self.seq}" + (f" ({self.receipt.id})" if self.receipt else "")


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: `first` and `last` are numbers of entries, 0 where there are none; `lost`
    receipts could not be kept; `problems` in sentences, none if all is well."""

    first: int
    last: int
    entries: int
    checkpoints: int
    lost: int
    problems: tuple[str, ...]


def check_receipt(token: str, keys: Mapping[str, Any]) -> Link:
    """The entry in a signed receipt. Raises `Unverified`."""
    link = _read(verified(token.strip(), keys, RECEIPT_TYPE))
    if link is None or link.receipt is None:
        raise Unverified("what is signed is no receipt")
    return link


def check_answer(receipt: Receipt, content: bytes) -> str | None:
    """Why these bytes are not the answer; None if they are, as sent or as its text."""
    answer = receipt.answer
    if answer is None:
        return "this request had no answer"
    if digest(content) == answer.sha256:
        return None
    if answer.text_sha256 is None:
        return "they are not what was sent, and of its text alone nothing is known"
    texts = (content, content.removesuffix(b"\n"), content.removesuffix(b"\r\n"))
    if any(digest(text) == answer.text_sha256 for text in texts):
        return None
    size = len(content.decode("utf-8", "replace").removesuffix("\n"))
    if size != answer.text_size:
        return f"they have {size} characters, and the text of the answer has {answer.text_size}"
    return "they have as many characters as the text of the answer, but not the same"


def check_chain(
    entries: Iterable[Entry], checkpoints: Sequence[Signed], keys: Mapping[str, Any]
) -> Chain:
    """All of a chain."""
    walk = _Walk(_points(checkpoints, keys))
    for stored in entries:
        walk.go_on(stored)
    return walk.end()


class _Walk:
    """From the first entry to the last; `points` are the checkpoints by number, None for one that
    is not signed as it should be."""

    def __init__(self, points: Mapping[int, Checkpoint | str]) -> None:
        self._points = points
        self._last: Link | None = None
        self._hash = GENESIS
        self._first = self._entries = self._lost = 0
        self._problems = [
            f"the checkpoint of entry {seq} is no good: {point}"
            for seq, point in points.items()
            if isinstance(point, str)
        ]

    def go_on(self, stored: Entry) -> None:
        link = _read(stored.entry)
        self._entries += 1
        if link is None or link.seq != stored.seq:
            self._problems.append(f"entry {stored.seq} was changed: it cannot be read as one")
            link = Link(seq=stored.seq, previous=self._hash)
        elif self._last is None:
            self._begin(link)
        elif link.seq != self._last.seq + 1:
            self._missing(self._last.seq + 1, link.seq - 1)
        elif link.previous != self._hash:
            self._broken(self._last, link)
        self._last, self._hash = link, digest(stored.entry)
        if link.gap is not None:
            self._lost += int(link.gap.get("lost", 0))
        point = self._points.get(link.seq)
        if isinstance(point, Checkpoint) and point.hash != self._hash:
            self._problems.append(f"{link.name} was changed: the checkpoint there says otherwise")

    def end(self) -> Chain:
        last = 0 if self._last is None else self._last.seq
        if beyond := [seq for seq in self._points if seq > last]:
            self._missing(last + 1, max(beyond))
        elif self._last is not None and last not in self._points:
            self._problems.append(
                f"the entries up to {last} are not covered by a checkpoint: some were taken out"
            )
        return Chain(
            first=self._first,
            last=last,
            entries=self._entries,
            checkpoints=len(self._points),
            lost=self._lost,
            problems=tuple(dict.fromkeys(self._problems)),
        )

    def _begin(self, link: Link) -> None:
        self._first = link.seq
        before = self._points.get(link.seq - 1)
        known = before.hash if isinstance(before, Checkpoint) else None
        if link.seq == 1:
            known = GENESIS
        if known is None:
            self._missing(1, link.seq - 1)
        elif link.previous != known:
            self._problems.append(f"{link.name} was changed, or what came before it")

    def _broken(self, before: Link, link: Link) -> None:
        point = self._points.get(before.seq)
        sure = isinstance(point, Checkpoint) and point.hash == self._hash
        changed = link if sure else before
        self._problems.append(f"{changed.name} was changed: entry {link.seq} does not follow")

    def _missing(self, first: int, last: int) -> None:
        which = f"entry {first} is" if first == last else f"the entries {first} to {last} are"
        self._problems.append(f"{which} missing")


def _points(
    checkpoints: Sequence[Signed], keys: Mapping[str, Any]
) -> Mapping[int, Checkpoint | str]:
    """The checkpoints by number; a sentence in place of one that is no good."""
    found: dict[int, Checkpoint | str] = {}
    for signed in checkpoints:
        try:
            payload = verified(signed.jws, keys, CHECKPOINT_TYPE)
            point = msgspec.json.decode(payload, type=Checkpoint)
        except (Unverified, msgspec.DecodeError) as error:
            found[signed.seq] = str(error)
            continue
        found[signed.seq] = point if point.seq == signed.seq else "it is that of another entry"
    return found


def _read(entry: bytes) -> Link | None:
    try:
        return msgspec.json.decode(entry, type=Link)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
