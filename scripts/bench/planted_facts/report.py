"""From what was found to Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from planted_facts.places import PLACES, Place

KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One conversation, `times` the context long. `kept` by our rule, `front_kept` by cutting
    from the front; None where nobody was asked."""

    times: int
    place: Place
    promised: bool
    kept: bool
    front_kept: bool
    answered: bool | None = None
    said: bool | None = None
    peer_answered: bool | None = None


def render(found: Sequence[Found]) -> str:
    """The tables, by length and by place, and what was broken of the promises."""
    return "\n\n".join((_by_length(found), _by_place(found), _broken(found)))


def _by_length(found: Sequence[Found]) -> str:
    head = (
        "times the context", "conversations", "answered", "llama-server answered",
        "fact kept where promised", "elsewhere", "cut from the front: kept", "elsewhere",
        "said by the model where kept",
    )  # fmt: skip
    rows = [
        (
            f"{times}",
            f"{len(these)}",
            _share(these, lambda each: each.answered),
            _share(these, lambda each: each.peer_answered),
            _share([each for each in these if each.promised], lambda each: each.kept),
            _share([each for each in these if not each.promised], lambda each: each.kept),
            _share([each for each in these if each.promised], lambda each: each.front_kept),
            _share([each for each in these if not each.promised], lambda each: each.front_kept),
            _share([each for each in these if each.kept], lambda each: each.said),
        )
        for times, these in _groups(found, lambda each: each.times)
    ]
    return _table(head, rows)


def _by_place(found: Sequence[Found]) -> str:
    head = ("where the fact stands", "promised", "kept", "elsewhere kept", "cut from the front")
    groups = dict(_groups(found, lambda each: each.place))
    rows = [
        (
            place.name,
            f"{sum(each.promised for each in these)} of {len(these)}",
            _share([each for each in these if each.promised], lambda each: each.kept),
            _share([each for each in these if not each.promised], lambda each: each.kept),
            _share(these, lambda each: each.front_kept),
        )
        for place in PLACES
        if (these := groups.get(place))
    ]
    return _table(head, rows)


def _broken(found: Sequence[Found]) -> str:
    promises = sum(each.promised for each in found)
    broken = sum(each.promised and not each.kept for each in found)
    asked = [each for each in found if each.answered is not None]
    unanswered = sum(not each.answered for each in asked)
    answers = f"Not answered: {unanswered} of {len(asked)} asked."
    return f"Promises broken: {broken} of {promises}. {answers}"


def _share(these: Iterable[Found], what: Callable[[Found], bool | None]) -> str:
    known = [value for each in these if (value := what(each)) is not None]
    return f"{100 * sum(known) / len(known):.0f} %" if known else ""


def _groups(
    found: Sequence[Found], key: Callable[[Found], KeyT]
) -> Iterable[tuple[KeyT, list[Found]]]:
    groups: dict[KeyT, list[Found]] = {}
    for each in found:
        groups.setdefault(key(each), []).append(each)
    return groups.items()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
