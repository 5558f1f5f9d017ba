"""The steps of the fitting rule that drop turns.

Turns go in blocks, so that the prompt begins alike from turn to turn: the cut falls on lines of
a grid over the tokens since the conversation's beginning, and moves only when what follows it
has outgrown the room. The mesh is half the power of two that is next below the room; or half of
the one below that, with the next for a room, where that keeps more. So the cut leaves at least
`kept_tokens` of the room, six tenths, in use, and a larger room never keeps less.
"""

from __future__ import annotations

from itertools import accumulate

from fallback.core.conversation import Conversation, Turn
from fallback.core.exchanges import (
    instruction_turns,
    last_user_turn,
    seams,
    start_of_last_exchange,
)
from fallback.core.fit_steps import Result, Scale, Step, nothing, with_turns

RECENT_TOKENS = 1024
_SMALLEST_POWER = 4


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


def kept_tokens(room: int) -> int:
    """From how far before the end on turns are sure to be kept where they have so much room."""
    power = 1 << (max(room, 1).bit_length() - 1)
    return max(room - _mesh(power), power - _mesh(power // 2))


def _dropping(conversation: Conversation, scale: Scale, *, least_room: int) -> Step:
    """Drop the turns before a cut, but for those that stay; no call is parted from its result."""
    turns = conversation.turns
    holding = instruction_turns(turns, scale.leading)
    stays = holding | {last_user_turn(turns)}
    tokens = [0 if i in holding else scale.weigh(turn) for i, turn in enumerate(turns)]
    behind = list(accumulate(tokens, initial=scale.dropped_tokens))
    rooms = {end: _least_room(behind[end], behind[-1]) for end in _ends(turns, stays)}
    ends = [end for end, room in rooms.items() if room >= least_room]

    def cut(level: int) -> Result:
        end = ends[level - 1]
        gone = frozenset(range(end)) - stays
        kept = tuple(turn for i, turn in enumerate(turns) if i not in gone)
        dropped = sum(tokens[i] for i in gone)
        beside = behind[end] - behind[0] - dropped
        return Result(with_turns(conversation, kept), dropped, rooms[end] + beside)

    return Step("turns", len(ends), cut)


def _least_room(place: int, total: int) -> int:
    """The smallest room for which turns of `total` tokens are cut at `place`, not further on.

    The grid of a power of two serves rooms from that to the next.
    """
    after = total - place
    first = max(_SMALLEST_POWER, after.bit_length() - 2)
    powers = [1 << exponent for exponent in range(first, first + 4)]
    needed = [(power, after + place % _mesh(power)) for power in powers]
    return min(max(power, room) for power, room in needed if room <= 2 * power)


def _mesh(power: int) -> int:
    return power // 2


def _ends(turns: tuple[Turn, ...], stays: frozenset[int]) -> list[int]:
    """Up to where turns can go: something goes, and nothing that belongs to what stays."""
    first = next((i for i in range(len(turns)) if i not in stays), len(turns))
    last, places = last_user_turn(turns), seams(turns)
    apart = last in places and last + 1 in places
    end = start_of_last_exchange(turns) if apart else last
    return [i for i in places if first < i <= end]
