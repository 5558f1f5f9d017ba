"""Where a fact can stand in a conversation, and what the rule of cutting promises of it.

The rule is that of `fallback.core.fit`. With a budget of B tokens, tools in the conversation, and
set-up and last user turn that leave half of it free, it promises:

- the start of the system prompt, and its rules: half of 1,024 characters each at the least;
- a tool that was used: its name and the first sentence of its description;
- the last user turn, whole;
- the exchanges that begin within the last `sure_tokens`, a fifth to three tenths of B: half of B
  is the turns', less an eighth that is kept for the last result; of that, all but a block of
  turns. Of a result its first 682 and last 341 characters;
- of the results of the last exchange as much.

The rest may be kept, and is more often than not where there is room.
"""

from __future__ import annotations

from typing import NamedTuple

from fallback.core.fit_turns import kept_tokens


class Place(NamedTuple):
    """One kind of place: its name in the report, and whether the rule promises to keep it."""

    name: str
    promised: bool


def sure_tokens(budget: int) -> int:
    """From how far before the end on exchanges are kept."""
    return kept_tokens(budget // 2 - budget // 8)


SYSTEM_START = Place("system prompt, its first sentences", True)
SYSTEM_RULE = Place("system prompt, a rule in its middle", True)
SYSTEM_REST = Place("system prompt, elsewhere", False)
TOOL_SENTENCE = Place("a tool that was used, first sentence", True)
TOOL_REST = Place("a tool that was used, further on", False)
IDLE_TOOL = Place("a tool that was not used, first sentence", False)
OLD_TURN = Place("a turn further back", False)
RECENT_TURN = Place("a turn of late", True)
OLD_RESULT = Place("a tool result further back", False)
RECENT_RESULT_HEAD = Place("a tool result of late, head", True)
RECENT_RESULT_MIDDLE = Place("a tool result of late, middle", False)
RECENT_RESULT_TAIL = Place("a tool result of late, tail", True)
LAST_RESULT_HEAD = Place("the last tool result, head", True)
LAST_RESULT_MIDDLE = Place("the last tool result, middle", False)
LAST_RESULT_TAIL = Place("the last tool result, tail", True)
LAST_CONTEXT = Place("the last user turn, before the user's words", True)
LAST_WORDS = Place("the last user turn, the user's words", True)

PLACES = (
    SYSTEM_START, SYSTEM_RULE, SYSTEM_REST, TOOL_SENTENCE, TOOL_REST, IDLE_TOOL, OLD_TURN,
    RECENT_TURN, OLD_RESULT, RECENT_RESULT_HEAD, RECENT_RESULT_MIDDLE, RECENT_RESULT_TAIL,
    LAST_RESULT_HEAD, LAST_RESULT_MIDDLE, LAST_RESULT_TAIL, LAST_CONTEXT, LAST_WORDS,
)  # fmt: skip
