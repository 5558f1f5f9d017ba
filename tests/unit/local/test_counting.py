from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import captured
import msgspec
import pytest

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.local.worker.counting import TokenCounter, fit_exactly
from fallback.local.worker.template import CHATML, ChatTemplate

TEMPLATE = ChatTemplate(CHATML, bos="<s>", eos="</s>")


def text_tokens(text: str) -> int:
    """Words of at most six characters, and what stands between."""
    return sum(1 + len(word) // 6 for word in text.split(" "))


def exact(conversation: Conversation) -> int:
    return text_tokens(TEMPLATE.render(conversation))


def tokenize(conversation: Conversation) -> list[int]:
    return [0] * exact(conversation)


def counter(count_text: Callable[[str], int] = text_tokens) -> TokenCounter:
    return TokenCounter(exact, count_text)


def test_the_sum_is_close_to_the_truth() -> None:
    """For whatever real clients send it is at most a twentieth off, or a few tokens."""
    count = counter()
    for name, conversation in captured.conversations().items():
        truth = exact(conversation)
        assert abs(count(conversation) - truth) <= truth / 20 + 40, name


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "Be kind. " * 50},
        {"turns": (Turn("user", (Text("word " * 100), Attachment(kind="image"))),)},
        {"turns": (Turn("system", (Text("rule " * 100),)), Turn("user", (Text("go"),)))},
        {
            "turns": (
                Turn("user", (Text("go"),)),
                Turn("assistant", (ToolCall(id="1", name="run", arguments='{"a": "b c d"}'),)),
                Turn("user", (ToolResult(call_id="1", text="out " * 100),)),
            )
        },
        {"tools": (Tool(name="run", description="word " * 100), Tool(name="x", kind="custom"))},
        {
            "tools": (Tool(name="run", description="word " * 100),),
            "tool_choice": ToolChoice(mode="none"),
        },
        {"output_format": OutputFormat(kind="json_schema", schema={"type": "object"})},
    ],
)
def test_every_part_counts(changes: dict[str, object]) -> None:
    """Each kind of thing is counted, with what the template writes around it."""
    conversation = msgspec.structs.replace(Conversation(model="m"), **changes)
    assert abs(counter()(conversation) - exact(conversation)) <= 20


def test_a_text_is_counted_once() -> None:
    """A second look, and a further turn, cost nothing for what is known."""
    texts: Counter[str] = Counter()

    def counting(text: str) -> int:
        texts[text] += 1
        return text_tokens(text)

    count = counter(counting)
    turns = tuple(Turn("user", (Text(f"turn {n}"),)) for n in range(9))
    for end in (3, 9, 9):
        count(Conversation(model="m", system="system", turns=turns[:end]))
    assert [texts[f"turn {n}"] for n in range(9)] == [1] * 9
    assert texts["system"] == 1


def test_memory_is_bounded() -> None:
    """What was not asked for longest is forgotten."""
    asked: Counter[str] = Counter()

    def counting(text: str) -> int:
        asked[text[:1]] += 1
        return text_tokens(text)

    count = TokenCounter(exact, counting, memo_bytes=10_000)
    for letter in "aaabaca":
        count(Conversation(model="m", system=letter * 4000))
    assert "2 entries" not in repr(count).partition("9")[0]
    assert (asked["a"], asked["b"], asked["c"]) == (1, 1, 1)
    for letter in "dba":
        count(Conversation(model="m", system=letter * 4000))
    assert (asked["a"], asked["b"]) == (2, 2)


@pytest.mark.parametrize("budget", [300, 2000, 6000])
def test_the_prompt_fits_though_the_sum_was_too_small(budget: int) -> None:
    """The exact count has the last word."""
    too_small = counter(lambda text: text_tokens(text) * 4 // 5)
    for name, conversation in captured.conversations().items():
        fitted, tokens = fit_exactly(conversation, budget, too_small, tokenize)
        assert len(tokens) == exact(fitted.conversation) <= budget, name


def test_nothing_is_cut_where_the_whole_fits_though_the_sum_was_too_large() -> None:
    """A conversation that fits by the last token comes back whole."""
    conversation = captured.conversation("cc329-ok-000")
    budget = exact(conversation)
    too_large = counter(lambda text: text_tokens(text) * 21 // 20)
    assert too_large(conversation) > budget
    fitted, tokens = fit_exactly(conversation, budget, too_large, tokenize)
    assert (fitted.conversation, fitted.cuts, len(tokens)) == (conversation, (), budget)
