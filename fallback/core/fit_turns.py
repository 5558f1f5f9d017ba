"""The steps of the fitting rule that drop turns.

Turns go in blocks, so that the prompt begins alike from turn to turn: the cut falls on a grid
over the tokens since the conversation's beginning, whose mesh grows with the room that the
turns get. It moves only when what follows it has outgrown the room; then at most 0.3 of the
room's tokens go at once, so that at least 0.7 of the room, less one exchange, stays in use. A
larger room never drops more: a room and its mesh together are no larger than the next room.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from fallback.core.conversation import Conversation, Turn
from fallback.core.exchanges import (
    instruction_turns,
    last_user_turn,
    seams,
    start_of_last_exchange,
)
from fallback.core.fit_steps import Result, Scale, Step, nothing, with_turns
from fallback.core.sizes import gap_below, size_at_least, sizes_between

RECENT_TOKENS = 1024


def old_turns(conversation: Conversation, scale: Scale) -> Step:
    """Drop turns and tool exchanges, the oldest first, but for the last 1024 tokens of them."""
    return _dropping(conversation, scale, least_room=RECENT_TOKENS)


def recent_turns(conversation: Conversation, scale: Scale) -> Step:
    """Drop all but the last user turn and the last exchange after it, the oldest first."""
    return _dropping(conversation, scale, least_room=0)


def last_exchange(conversation: Conversation, scale: Scale) -> Step:
    """Drop all that follows the last user turn: a tool exchange, the beginning of the answer."""
    turns = conversation.turns
    start = last_user_turn(turns) + 1
    tail = turns[start:]
    if start not in seams(turns) or all(turn.role == "system" for turn in tail):
        return nothing("turns")
    kept = turns[:start] + tuple(turn for turn in tail if turn.role == "system")
    return Step("turns", 1, lambda _: Result(with_turns(conversation, kept)))


def everything(conversation: Conversation, scale: Scale) -> Step:
    """Drop what is left of turns."""
    empty = Result(with_turns(conversation, ()))
    return Step("turns", min(1, len(conversation.turns)), lambda _: empty)


def _dropping(conversation: Conversation, scale: Scale, *, least_room: int) -> Step:
    """Drop the turns before a cut, but for those that stay; no call is parted from its result."""
    turns = conversation.turns
    holding = instruction_turns(turns)
    stays = holding | {last_user_turn(turns)}
    tokens = [0 if i in holding else scale.weigh(turn) for i, turn in enumerate(turns)]
    behind = list(accumulate(tokens, initial=scale.dropped_tokens))
    ends = _ends(turns, stays)
    rooms = _rooms(least_room, behind[-1] - behind[0]) if ends else ()
    places = [behind[end] for end in ends]

    def cut(level: int) -> Result:
        room = rooms[level - 1]
        end = _first_end(ends, places, behind[-1] - room, max(1, gap_below(room)))
        gone = frozenset(range(end)) - stays
        kept = tuple(turn for i, turn in enumerate(turns) if i not in gone)
        dropped = sum(tokens[i] for i in gone)
        beside = behind[end] - behind[0] - dropped
        return Result(with_turns(conversation, kept), dropped, room + beside)

    return Step("turns", len(rooms), cut)


def _rooms(least: int, tokens: int) -> tuple[int, ...]:
    """Ever smaller rooms for turns of so many tokens; at last none, where none is the least."""
    rooms = sizes_between(max(1, least), size_at_least(tokens))
    return rooms if least else (*rooms, 0)


def _ends(turns: tuple[Turn, ...], stays: frozenset[int]) -> list[int]:
    """Up to where turns can go: something goes, and nothing that belongs to what stays."""
    first = next((i for i in range(len(turns)) if i not in stays), len(turns))
    last, places = last_user_turn(turns), seams(turns)
    apart = last in places and last + 1 in places
    end = start_of_last_exchange(turns) if apart else last
    return [i for i in places if first < i <= end]


def _first_end(ends: Sequence[int], places: Sequence[int], least: int, mesh: int) -> int:
    """The first of the ends that lies on or behind the grid's first line from `least` on."""
    line = -(-least // mesh) * mesh
    found = bisect_left(places, line)
    return 0 if line <= 0 else ends[min(found, len(ends) - 1)]
