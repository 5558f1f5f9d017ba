"""Tokens of a conversation as the sum of its pieces, each counted once.

Rendering and tokenizing a long prompt takes tens of milliseconds, and fitting asks for the size
of a conversation some twenty times. Its turns, tools and instructions are mostly the same each
time, and the same again at the next request. So pieces are remembered, and what a template
writes around them is measured once. The sum is a little more than the truth, seldom less; the
prompt that was settled on is counted exactly, once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import msgspec

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from fallback.core.fit import Fitted, fit
from fallback.core.tool_syntax import callable_tools

_MEMO_BYTES = 16 << 20
_ENTRY_BYTES = 200
_JOINT_TOKENS = 1  # what stands between two texts
_MOST_TRIES = 3
# A sum may be so much too large: then the whole is counted before anything is cut.
_DOUBT = 1.1

_TOOL = Tool(name="another_tool", description="x")


class TokenCounter:
    """Counts conversations for one model and template.

    `exact` counts a whole conversation as rendered, `text` a plain text. Not thread-safe.
    """

    def __init__(
        self,
        exact: Callable[[Conversation], int],
        text: Callable[[str], int],
        *,
        memo_bytes: int = _MEMO_BYTES,
    ) -> None:
        self._exact = exact
        self._text = text
        self._memo = _Memo(memo_bytes)
        self._frames: _Frames | None = None

    def __repr__(self) -> str:
        return f"<TokenCounter {self._memo!r} {self._frames}>"

    def __call__(self, conversation: Conversation) -> int:
        """About how many tokens the conversation has as rendered."""
        tools = callable_tools(conversation)
        texts = [conversation.system] if conversation.system else []
        return (
            self._bare(conversation.output_format)
            + sum(map(self._system, texts))
            + sum(map(self._turn, conversation.turns))
            + (self._frame.tools + sum(map(self._tool, tools)) if tools else 0)
        )

    @property
    def _frame(self) -> _Frames:
        if self._frames is None:
            self._frames = _Frames.measure(self._exact, self._text)
        return self._frames

    def _bare(self, output: OutputFormat | None) -> int:
        key = msgspec.json.encode(output)
        bare = Conversation(model="", output_format=output)
        return self._memo.get(key, len(key), lambda: self._exact(bare))

    def _system(self, text: str) -> int:
        return self._memo.get(text, len(text), lambda: self._text(text) + _JOINT_TOKENS)

    def _tool(self, tool: Tool) -> int:
        key = msgspec.json.encode(tool)
        return self._memo.get(key, len(key), lambda: self._of_tool(tool))

    def _of_tool(self, tool: Tool) -> int:
        both = self._exact(Conversation(model="", system="x", tools=(_TOOL, tool)))
        return max(0, both - self._frame.one_tool)

    def _turn(self, turn: Turn) -> int:
        size = sum(map(_chars, turn.parts))
        return self._memo.get(turn, size, lambda: self._of_turn(turn))

    def _of_turn(self, turn: Turn) -> int:
        frame = self._frame.instructions if turn.role == "system" else self._frame.message
        return frame + sum(map(self._part, turn.parts))

    def _part(self, part: Part) -> int:
        texts = _texts(part)
        tokens = sum(self._text(text) for text in texts) + _JOINT_TOKENS * bool(texts)
        return tokens + self._frame.call * isinstance(part, ToolCall | ToolResult)


class _Frames(NamedTuple):
    """What the template writes around texts, in tokens: a message of the user or the assistant,
    instructions between them, a call or a result (half of both), the tools. `one_tool` is a
    whole prompt with one."""

    message: int
    instructions: int
    call: int
    tools: int
    one_tool: int

    @classmethod
    def measure(cls, exact: Callable[[Conversation], int], text: Callable[[str], int]) -> _Frames:
        asked, said, more = (Turn(role, (Text("x"),)) for role in ("user", "assistant", "system"))
        call = ToolCall(id="1", name="x", arguments="{}")
        called = Turn("assistant", (call,)), Turn("user", (ToolResult(call_id="1", text="x"),))

        def count(*turns: Turn, tools: tuple[Tool, ...] = ()) -> int:
            return exact(Conversation(model="", system="x", turns=turns, tools=tools))

        plain, one_tool = count(asked), count(tools=(_TOOL,))
        a_tool = count(tools=(_TOOL, msgspec.structs.replace(_TOOL, name="yet_another"))) - one_tool
        message = -(-(count(asked, said, asked) - plain) // 2)
        around = count(asked, *called) - plain - sum(map(text, ("x", "{}", "x"))) - 2 * message
        return cls(
            message=message,
            instructions=max(0, count(asked, said, asked, more) - count(asked, said, asked)),
            call=max(0, -(-around // 2)),
            tools=max(0, one_tool - count() - a_tool),
            one_tool=one_tool,
        )


def fit_exactly(
    conversation: Conversation,
    budget_tokens: int,
    counter: Callable[[Conversation], int],
    tokenize: Callable[[Conversation], Sequence[int]],
) -> tuple[Fitted, Sequence[int]]:
    """Fit by the counter, tokenize, and fit again a little tighter where the sum was too small.

    Where not even an empty conversation fits, the tokens are more than the budget.
    """
    if counter(conversation) <= budget_tokens * _DOUBT:
        tokens = tokenize(conversation)
        if len(tokens) <= budget_tokens:
            return Fitted(conversation), tokens
    goal = budget_tokens
    for _ in range(_MOST_TRIES):
        fitted = fit(conversation, goal, counter)
        tokens = tokenize(fitted.conversation)
        if len(tokens) <= budget_tokens:
            return fitted, tokens
        goal = goal * budget_tokens // len(tokens)
    fitted = fit(conversation, budget_tokens, lambda smaller: len(tokenize(smaller)))
    return fitted, tokenize(fitted.conversation)


class _Memo:
    """Numbers by what they are about, bounded by bytes; what was not asked for longest goes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._entries: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<_Memo {len(self._entries)} entries, {self._bytes} of {self._limit} bytes>"

    def get(self, key: Hashable, size: int, compute: Callable[[], int]) -> int:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
            return found[0]
        value = compute()
        self._entries[key] = value, size + _ENTRY_BYTES
        self._bytes += size + _ENTRY_BYTES
        while self._bytes > self._limit:
            _, (_, gone) = self._entries.popitem(last=False)
            self._bytes -= gone
        return value


def _chars(part: Part) -> int:
    return sum(map(len, _texts(part)))


def _texts(part: Part) -> tuple[str, ...]:
    match part:
        case Text() | ToolResult():
            return (part.text,)
        case ToolCall():
            return part.name, part.arguments
        case Attachment():
            return (part.note(),)
        case Thinking():
            return ()
