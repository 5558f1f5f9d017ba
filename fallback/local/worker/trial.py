"""Conversations on which a template is tried, and what their rendering must show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolResult, Turn
from fallback.core.tool_formats import ToolFormat
from fallback.local.worker.messages import Messages

PLAIN = Messages("system-text", (("user", "one"), ("assistant", "two"), ("user", "three-text")))
_PLAIN_MARKERS = ("system-text", "three-text")


def _result(call_id: str) -> ToolResult:
    return ToolResult(call_id=call_id, text=f"result-of-{call_id}")


def _call(call_id: str) -> ToolCall:
    return ToolCall(id=call_id, name="find_it", arguments=f'{{"place": "place-of-{call_id}"}}')


_TOOL = Tool(
    name="find_it",
    description="tool-description",
    parameters={
        "type": "object",
        "properties": {"place": {"type": "string", "description": "parameter-description"}},
        "required": ["place"],
    },
)
_TURNS = (
    Turn("user", (Text("one-text"),)),
    Turn("assistant", (Text("two-text"), _call("first"), _call("second"))),
    Turn("user", (_result("first"), _result("second"), Text("three-text"))),
    Turn("assistant", (Text("four-text"), _call("third"))),
    Turn("user", (_result("third"),)),
    Turn("assistant", (_call("fourth"),)),
    Turn("user", (_result("fourth"),)),
    Turn("assistant", (Text("five-text"),)),
    Turn("user", (Text("six-text"),)),
    Turn("assistant", (Text("seven-text"), _call("fifth"))),
    Turn("user", (_result("fifth"),)),
)
_TOOL_MARKERS = ("find_it", "tool-description", "place", "parameter-description")
_WHOLE = Conversation(model="", system="system-text", turns=_TURNS, tools=(_TOOL,))
# Up to the user's word, and up to a result.
_TALKS = tuple(
    msgspec.structs.replace(_WHOLE, turns=_TURNS[:length]) for length in (1, 3, len(_TURNS))
)


def shows_text(render: Callable[[Messages], str]) -> bool:
    """Whether a template shows system text and turns."""
    return _holds(render(PLAIN), _PLAIN_MARKERS)


def shows_tools(form: ToolFormat, render: Callable[[Conversation], str]) -> bool:
    """Whether a template shows tools, and calls as `form` has them, with text and results, all in
    their order. Raises what `render` raises."""
    return all(_shown(form, talk, render(talk)) for talk in _TALKS)


def _shown(form: ToolFormat, talk: Conversation, rendered: str) -> bool:
    if not _holds(rendered, ("system-text", *_TOOL_MARKERS)):
        return False
    text = _dense(rendered)
    return all(_in_order(text, map(_dense, chain)) for chain in _chains(form, talk.turns))


def _chains(form: ToolFormat, turns: Sequence[Turn]) -> Iterator[list[str]]:
    """What must be there, each in this order: the texts; each call between the texts around it,
    with its result behind it, the first of a turn in the form of a call."""
    parts = [part for turn in turns for part in turn.parts]
    yield [part.text for part in parts if isinstance(part, Text)]
    results = {part.call_id: part.text for part in parts if isinstance(part, ToolResult)}
    for turn in turns:
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        for call in calls:
            at = parts.index(call)
            before = [part.text for part in parts[:at] if isinstance(part, Text)][-1:]
            after = [part.text for part in parts[at:] if isinstance(part, Text)][:1]
            head = form.evidence(call.name) if call is calls[0] else ()
            yield [*before, *head, f"place-of-{call.id}", results[call.id], *after]


def _in_order(text: str, markers: Iterable[str]) -> bool:
    at = 0
    for marker in markers:
        at = text.find(marker, at)
        if at < 0:
            return False
    return True


def _dense(text: str) -> str:
    return "".join(text.split())


def _holds(text: str, markers: Iterable[str]) -> bool:
    return all(marker in text for marker in markers)
