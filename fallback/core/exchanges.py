"""Which turns of a conversation belong together, and what they are to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, takewhile

from fallback.core.conversation import Part, Text, ToolCall, ToolResult, Turn


def leading_instructions(turns: tuple[Turn, ...]) -> int:
    """How many turns of instructions come before the first answer; clients send them behind the
    user's first words too."""
    before = takewhile(lambda turn: turn.role != "assistant", turns)
    return sum(turn.role == "system" for turn in before)


def instruction_turns(turns: tuple[Turn, ...], leading: int) -> frozenset[int]:
    """The indexes of the instructions that hold now: the first `leading` ones, and those since
    the last user turn."""
    system = [i for i, turn in enumerate(turns) if turn.role == "system"]
    last = last_user_turn(turns)
    return frozenset((*system[:leading], *(i for i in system if i > last)))


def last_user_turn(turns: tuple[Turn, ...]) -> int:
    """Its index; without one, that of the last turn of any kind; -1 where there is none."""
    users = [i for i, turn in enumerate(turns) if turn.role == "user"]
    speaking = [i for i in users if speaks(turns[i])]
    return (speaking or users or [len(turns) - 1])[-1]


def speaks(turn: Turn) -> bool:
    """Whether a user says something here, rather than a client returns a tool's result."""
    kinds = {type(part) for part in turn.parts}
    return turn.role == "user" and Text in kinds and ToolResult not in kinds


def parts_of(turns: tuple[Turn, ...]) -> Iterator[Part]:
    """All parts of the turns, in order."""
    return (part for turn in turns for part in turn.parts)


def growing_turns(turns: tuple[Turn, ...], leading: int) -> tuple[Turn, ...]:
    """All turns but the instructions that hold now."""
    holding = instruction_turns(turns, leading)
    return tuple(turn for i, turn in enumerate(turns) if i not in holding)


def start_of_last_exchange(turns: tuple[Turn, ...]) -> int:
    """Where the last exchange after the last user turn begins; that turn's index without one."""
    last = last_user_turn(turns)
    talk = [i for i in range(last + 1, len(turns)) if turns[i].role != "system"]
    starts = [i for i in seams(turns) if last < i <= talk[-1]] if talk else []
    return starts[-1] if starts else last


def seams(turns: tuple[Turn, ...]) -> list[int]:
    """The indexes before which the turns can be parted without parting a call from its result."""
    called: dict[str, int] = {}
    crossing = [0] * (len(turns) + 1)
    for i, turn in enumerate(turns):
        for part in turn.parts:
            if isinstance(part, ToolCall):
                called.setdefault(part.id, i)
            elif isinstance(part, ToolResult) and part.call_id in called:
                crossing[called[part.call_id] + 1] += 1
                crossing[i + 1] -= 1
    return [i for i, open_calls in enumerate(accumulate(crossing)) if not open_calls]


def last_words_and_exchange(turns: tuple[Turn, ...], leading: int) -> tuple[Turn, ...]:
    """The last user turn and the last exchange after it, without instructions."""
    last, start = last_user_turn(turns), start_of_last_exchange(turns)
    kept = {last, *range(max(start, last + 1), len(turns))} if turns else set()
    return tuple(turns[i] for i in sorted(kept - instruction_turns(turns, leading)))
