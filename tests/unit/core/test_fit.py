from __future__ import annotations

import itertools

import captured
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.conversation import (
    Attachment,
    Conversation,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.core.fit import Fitted, fit
from fallback.core.fit_steps import MARK, shorten


def count(conversation: Conversation) -> int:
    """Tokens, roughly: a quarter of the characters and something for every piece."""
    parts = [part for turn in conversation.turns for part in turn.parts]
    pieces = [conversation.system, *map(_chars, conversation.tools), *map(_chars, parts)]
    return 10 + 4 * len(conversation.turns) + sum(2 + len(piece) // 4 for piece in pieces)


def _chars(value: Tool | Part) -> str:
    return msgspec.json.encode(value).decode()


def empty(conversation: Conversation) -> Conversation:
    return msgspec.structs.replace(conversation, system="", turns=(), tools=())


def user(*texts: str) -> Turn:
    return Turn("user", tuple(map(Text, texts)))


def assistant(text: str) -> Turn:
    return Turn("assistant", (Text(text),))


def exchange(call_id: str, *, name: str = "run", result: str = "done") -> tuple[Turn, Turn]:
    """A tool call and its result."""
    call = ToolCall(id=call_id, name=name, arguments='{"x":1}')
    return (
        Turn("assistant", (call,)),
        Turn("user", (ToolResult(call_id=call_id, text=result),)),
    )


def last_words(conversation: Conversation) -> str:
    """The last text of the last turn in which a user speaks; empty without one."""
    for turn in reversed(conversation.turns):
        returns = any(isinstance(part, ToolResult) for part in turn.parts)
        if turn.role == "user" and not returns and text_of(turn):
            return text_of(turn)[-1]
    return ""


def text_of(turn: Turn) -> list[str]:
    return [part.text for part in turn.parts if isinstance(part, Text | ToolResult)]


texts = st.integers(0, 3000).map(lambda size: ("words " * 500)[:size])
calls = st.integers(0, 5).map(str)
said: st.SearchStrategy[Part] = st.one_of(texts.map(Text), st.just(Attachment(kind="image")))
parts: st.SearchStrategy[Part] = st.one_of(
    said,
    st.builds(ToolCall, id=calls, name=st.sampled_from("abc"), arguments=texts),
    st.builds(ToolResult, call_id=calls, text=texts),
)
# No dialect has calls or results in an instruction.
turns = st.one_of(
    st.builds(Turn, st.sampled_from(("user", "assistant")), st.lists(parts, max_size=3).map(tuple)),
    st.builds(Turn, st.just("system"), st.lists(said, max_size=3).map(tuple)),
)
tools = st.builds(Tool, name=st.sampled_from("abcd"), description=texts)
choices = st.sampled_from(
    [ToolChoice(), ToolChoice(mode="required"), ToolChoice(mode="named", name="b")]
)


def _with_own_ids(conversation: Conversation) -> Conversation:
    """As clients number them: no two calls of a conversation have the same id."""
    numbers = itertools.count()

    def numbered(part: Part) -> Part:
        if isinstance(part, ToolCall):
            return msgspec.structs.replace(part, id=str(next(numbers)))
        return part

    turns = tuple(Turn(t.role, tuple(map(numbered, t.parts))) for t in conversation.turns)
    return msgspec.structs.replace(conversation, turns=turns)


conversations = st.builds(
    Conversation,
    model=st.just("m"),
    system=texts,
    turns=st.lists(turns, max_size=8).map(tuple),
    tools=st.lists(tools, max_size=4).map(tuple),
    tool_choice=choices,
).map(_with_own_ids)
budgets = st.integers(0, 6000)


@given(conversations, budgets)
@settings(deadline=None)
def test_the_result_fits(conversation: Conversation, budget: int) -> None:
    """Whatever the conversation, the result fits where an empty one would."""
    left = count(fit(conversation, budget, count).conversation)
    assert left <= max(budget, count(empty(conversation)))


@given(conversations, budgets)
@settings(deadline=None)
def test_cuts_are_told_exactly_when_something_is_cut(
    conversation: Conversation, budget: int
) -> None:
    """A conversation that fits comes back whole; any other with its cuts, once each."""
    fitted = fit(conversation, budget, count)
    fits = count(conversation) <= budget
    assert (fitted == Fitted(conversation)) == (fits or conversation == empty(conversation))
    assert len({cut.what for cut in fitted.cuts}) == len(fitted.cuts)
    assert all(cut.count > 0 for cut in fitted.cuts)
    saved = count(conversation) - count(fitted.conversation)
    assert sum(cut.tokens for cut in fitted.cuts) == saved


@given(conversations, budgets, st.integers(0, 2000))
@settings(deadline=None)
def test_a_larger_budget_keeps_no_less_of_the_users_words(
    conversation: Conversation, budget: int, more: int
) -> None:
    """The user's last words never shrink as the budget grows."""
    small = fit(conversation, budget, count).conversation
    large = fit(conversation, budget + more, count).conversation
    assert len(last_words(large)) >= len(last_words(small))


@given(conversations, budgets)
@settings(deadline=None)
def test_calls_and_results_stay_together(conversation: Conversation, budget: int) -> None:
    """A result is never left without a call that it had, nor the other way round."""
    fitted = fit(conversation, budget, count).conversation
    assert _pairs(fitted) == {pair for pair in _pairs(conversation) if pair[0] in _calls(fitted)}


def _calls(conversation: Conversation) -> set[str]:
    return {
        part.id for turn in conversation.turns for part in turn.parts if isinstance(part, ToolCall)
    }


def _pairs(conversation: Conversation) -> set[tuple[str, int]]:
    """Ids of calls and how many results come after each first call."""
    seen: dict[str, int] = {}
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                seen.setdefault(part.id, 0)
            elif isinstance(part, ToolResult) and part.call_id in seen:
                seen[part.call_id] += 1
    return set(seen.items())


@given(conversations, budgets)
@settings(deadline=None)
def test_counting_is_sparing(conversation: Conversation, budget: int) -> None:
    """The whole conversation is rendered and tokenized some twenty times at most."""
    counted = 0

    def counting(conversation: Conversation) -> int:
        nonlocal counted
        counted += 1
        return count(conversation)

    fit(conversation, budget, counting)
    assert counted <= 21


def test_unused_tools_go_first_and_the_rest_stays() -> None:
    """Of the tools, those the conversation used stay longest; nothing else is touched."""
    tools = tuple(Tool(name=name, description="d" * 400) for name in ("run", "look", "ask"))
    conversation = Conversation(
        model="m", tools=tools, turns=(user("go"), *exchange("1"), user("more"))
    )
    fitted = fit(conversation, count(conversation) - 150, count)
    assert [tool.name for tool in fitted.conversation.tools] == ["run"]
    assert fitted.conversation.turns == conversation.turns
    assert [(cut.what, cut.count) for cut in fitted.cuts] == [("tools", 2)]


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (ToolChoice(mode="required"), ["a"]),
        (ToolChoice(mode="named", name="c"), ["c"]),
        (ToolChoice(mode="named", name="gone"), ["a"]),
        (ToolChoice(), []),
    ],
)
def test_a_tool_that_must_be_called_outlasts_turns_and_system(
    choice: ToolChoice, kept: list[str]
) -> None:
    """The demanded tool stays while anything but the user's last turn can go."""
    conversation = Conversation(
        model="m",
        system="s" * 4000,
        tools=tuple(Tool(name=name, description="d" * 400) for name in "abc"),
        tool_choice=choice,
        turns=(user("old " * 500), assistant("ok"), user("new")),
    )
    fitted = fit(conversation, 200, count).conversation
    assert [tool.name for tool in fitted.tools] == kept
    assert fitted.turns == (user("new"),)


def test_the_oldest_turns_go_before_the_system_prompt() -> None:
    """Old turns go one by one, oldest first, and the instructions stay whole."""
    old = [turn for i in range(20) for turn in (user(f"{i} " + "q" * 200), assistant("a" * 200))]
    conversation = Conversation(model="m", system="s" * 400, turns=(*old, user("now")))
    fitted = fit(conversation, 400, count).conversation
    assert fitted.system == conversation.system
    assert 1 < len(fitted.turns) < len(conversation.turns)
    assert fitted.turns == conversation.turns[-len(fitted.turns) :]


def test_long_results_are_shortened_before_exchanges_go() -> None:
    """What a tool gave back loses its middle first, marked."""
    conversation = Conversation(
        model="m", turns=(user("go"), *exchange("1", result="r" * 8000), *exchange("2"))
    )
    fitted = fit(conversation, 400, count)
    assert [cut.what for cut in fitted.cuts] == ["tool_results"]
    assert MARK in text_of(fitted.conversation.turns[2])[0]
    assert fitted.conversation.turns[3:] == conversation.turns[3:]


def test_of_many_exchanges_the_last_stays_with_the_users_turn() -> None:
    """In a long tool loop the request and the latest result are kept."""
    loop = [turn for i in range(50) for turn in exchange(str(i), result="r" * 150)]
    conversation = Conversation(model="m", turns=(user("old"), assistant("ok"), user("go"), *loop))
    fitted = fit(conversation, 300, count).conversation
    assert fitted.turns[0] == user("go")
    assert fitted.turns[-2:] == conversation.turns[-2:]


def test_instructions_behind_the_users_turn_are_cut_as_system_prompt() -> None:
    """Instructions in the tail are shortened, keep their start, and outlive the tool loop."""
    late = Turn("system", (Text("Always " + "x" * 4000),))
    conversation = Conversation(
        model="m", turns=(user("go"), late, *exchange("1"), *exchange("2"), *exchange("3"))
    )
    fitted = fit(conversation, 500, count)
    assert [cut.what for cut in fitted.cuts] == ["turns", "system"]
    kept = fitted.conversation.turns[1]
    assert kept.role == "system"
    assert text_of(kept)[0].startswith("Always ")
    assert MARK in text_of(kept)[0]


def test_context_goes_before_the_users_own_words() -> None:
    """In a turn of several texts the last one stays whole as long as the others can give."""
    conversation = Conversation(model="m", turns=(user("reminder " * 300, "what is this?"),))
    fitted = fit(conversation, 200, count)
    assert last_words(fitted.conversation) == "what is this?"
    assert [cut.what for cut in fitted.cuts] == ["last_turn"]


def test_the_users_words_are_shortened_in_the_middle_at_last() -> None:
    """A single text that is too long keeps its start and its end around a mark."""
    conversation = Conversation(model="m", turns=(user("START " + "x" * 9000 + " END"),))
    words = last_words(fit(conversation, 500, count).conversation)
    assert words.startswith("START ")
    assert words.endswith(" END")
    assert MARK in words


def test_the_turn_of_a_coding_agent_keeps_the_users_words() -> None:
    """A Claude Code request of 50 KiB fits in 2000 tokens with the user's text whole."""
    conversation = captured.conversation("cc329-ok-000")
    fitted = fit(conversation, 2000, count)
    assert count(conversation) > 10_000
    assert 1800 <= count(fitted.conversation) <= 2000
    assert last_words(fitted.conversation) == "say hi"
    assert [cut.what for cut in fitted.cuts] == ["tools", "system"]


@pytest.mark.parametrize("budget", [300, 2000, 6000])
def test_captured_requests_fit_with_the_users_words(budget: int) -> None:
    """Whatever real clients send fits, and short last words are never touched."""
    for name, conversation in captured.conversations().items():
        fitted = fit(conversation, budget, count).conversation
        assert count(fitted) <= budget, name
        if len(last_words(conversation)) < 400:
            assert last_words(fitted) == last_words(conversation), name


@given(st.text(max_size=200), st.integers(-5, 250))
def test_shortening_keeps_start_and_end(text: str, kept: int) -> None:
    """A shortened text is shorter, begins and ends like the whole one, and says it is cut."""
    short = shorten(text, kept)
    start, mark, end = short.partition(MARK)
    assert len(short) <= len(text)
    assert text.startswith(start)
    assert short == text or kept <= 0 or (mark and text.endswith(end))
