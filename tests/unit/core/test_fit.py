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
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.core.fit import Fitted, fit
from fallback.core.shorten import MARK


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
# A call beside its result, which any order of turns seldom has.
exchanges = st.builds(
    lambda size: exchange("own", result=("words " * 500)[:size]), st.integers(0, 3000)
)
tools = st.builds(Tool, name=st.sampled_from("abcdefgh"), description=texts)
choices = st.sampled_from(
    [ToolChoice(), ToolChoice(mode="required"), ToolChoice(mode="named", name="b")]
)


def _with_own_ids(conversation: Conversation) -> Conversation:
    """As clients number them, no two calls have the same id; and no two turns are the same."""
    numbers = itertools.count()
    last = ""

    def numbered(part: Part) -> Part:
        nonlocal last
        if isinstance(part, ToolCall):
            last = str(next(numbers))
            return msgspec.structs.replace(part, id=last)
        if isinstance(part, ToolResult) and part.call_id == "own":
            return msgspec.structs.replace(part, call_id=last)
        return part

    turns = tuple(
        Turn(turn.role, (Thinking(f"turn {i}"), *map(numbered, turn.parts)))
        for i, turn in enumerate(conversation.turns)
    )
    return msgspec.structs.replace(conversation, turns=turns)


conversations = st.builds(
    Conversation,
    model=st.just("m"),
    system=texts,
    turns=st.lists(turns.map(lambda turn: (turn,)) | exchanges, max_size=8).map(
        lambda groups: tuple(itertools.chain(*groups))
    ),
    tools=st.lists(tools, max_size=8, unique_by=lambda tool: tool.name).map(tuple),
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
def test_a_larger_budget_keeps_no_less_of_anything(
    conversation: Conversation, budget: int, more: int
) -> None:
    """System prompt, tools, turns and every text in them only grow with the budget."""
    small = fit(conversation, budget, count).conversation
    large = fit(conversation, budget + more, count).conversation
    assert len(last_words(small)) <= len(last_words(large))
    assert len(small.system) <= len(large.system)
    assert {tool.name for tool in small.tools} <= {tool.name for tool in large.tools}
    sizes = {_origin(turn): _size(turn) for turn in large.turns}
    assert all(_size(turn) <= sizes[_origin(turn)] for turn in small.turns)


def _origin(turn: Turn) -> str:
    """What stays of a turn when it is shortened: here, its first part's number."""
    return turn.parts[0].text if turn.parts and isinstance(turn.parts[0], Thinking) else ""


def _size(turn: Turn) -> int:
    return sum(len(_chars(part)) for part in turn.parts)


@given(conversations, budgets)
@settings(deadline=None)
def test_calls_and_results_stay_together(conversation: Conversation, budget: int) -> None:
    """A result is never left without a call that it had, nor the other way round."""
    fitted = fit(conversation, budget, count).conversation
    assert _pairs(fitted) == {pair for pair in _pairs(conversation) if pair[0] in _calls(fitted)}
    answered = {call for call, results in _pairs(conversation) if results}
    assert answered & _results(fitted) <= _calls(fitted) | _orphans(conversation)


def _calls(conversation: Conversation) -> set[str]:
    return {
        part.id for turn in conversation.turns for part in turn.parts if isinstance(part, ToolCall)
    }


def _results(conversation: Conversation) -> set[str]:
    parts = [part for turn in conversation.turns for part in turn.parts]
    return {part.call_id for part in parts if isinstance(part, ToolResult)}


def _orphans(conversation: Conversation) -> set[str]:
    """Ids of results that come before their call."""
    calls: set[str] = set()
    orphans: set[str] = set()
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                calls.add(part.id)
            elif isinstance(part, ToolResult) and part.call_id not in calls:
                orphans.add(part.call_id)
    return orphans


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
    """The whole conversation is counted some thirty times at most."""
    counted = 0

    def counting(conversation: Conversation) -> int:
        nonlocal counted
        counted += len(conversation.turns) > 1
        return count(conversation)

    fit(conversation, budget, counting)
    assert counted <= 36


def test_explanations_go_before_tools_and_unused_tools_before_used_ones() -> None:
    """Of the tools, those the conversation used stay longest; nothing else is touched."""
    names = ("look", "ask", "a", "b", "c", "d", "e", "run")
    tools = tuple(Tool(name=name, description="What. " + "d" * 400) for name in names)
    conversation = Conversation(
        model="m", tools=tools, turns=(user("go"), *exchange("1"), user("more"))
    )
    fitted = fit(conversation, 550, count)
    assert [tool.description for tool in fitted.conversation.tools] == ["What."] * 8
    assert [(cut.what, cut.count) for cut in fitted.cuts] == [("tool_descriptions", 8)]
    fitted = fit(conversation, 260, count)
    assert [tool.name for tool in fitted.conversation.tools] == ["look", "ask", "run"]
    assert fitted.conversation.turns == conversation.turns
    assert [(cut.what, cut.count) for cut in fitted.cuts] == [
        ("tool_descriptions", 3),
        ("tools", 5),
    ]


def test_one_more_tool_never_costs_a_turn() -> None:
    """Token by token, neither tools nor turns get fewer as the budget grows."""
    tools = tuple(Tool(name=name, description="What. " + "d" * 400) for name in "abcdefgh")
    conversation = Conversation(
        model="m", tools=tools, turns=(user("go"), *exchange("1"), user("more"))
    )
    kept = [fit(conversation, budget, count).conversation for budget in range(60, 500)]
    tools_kept, turns_kept = ([len(c.tools) for c in kept], [len(c.turns) for c in kept])
    assert tools_kept == sorted(tools_kept)
    assert turns_kept == sorted(turns_kept)
    assert (tools_kept[-1], turns_kept[-1]) == (7, 4)


def test_the_last_result_gives_before_tools_and_turns_do() -> None:
    """It takes what room there is; beside many turns, the eighth that is kept for it."""
    tool = Tool(name="run", description="Runs it.")
    talk = [turn for i in range(40) for turn in (user(f"{i} " + "q" * 90), assistant("a" * 90))]

    def fitted(*turns: Turn) -> Fitted:
        end = (user("go"), *exchange("1", result="r" * 20_000))
        return fit(Conversation(model="m", tools=(tool,), turns=(*turns, *end)), 2400, count)

    alone, beside = fitted(*talk[:4]), fitted(*talk)
    assert [cut.what for cut in alone.cuts] == ["tool_results"]
    assert len(text_of(alone.conversation.turns[-1])[0]) > 5000
    assert [cut.what for cut in beside.cuts] == ["tool_results", "turns"]
    assert 2000 < len(text_of(beside.conversation.turns[-1])[0]) < 1024 + 4 * 2400 / 8
    assert beside.conversation.tools == (tool,)
    assert len(beside.conversation.turns) > 40


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
    fitted = fit(conversation, 500, count)
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


def test_instructions_around_the_users_turn_are_cut_as_system_prompt() -> None:
    """Behind the first words or the last, they keep start and rules, and outlive a tool loop."""
    setup = Turn("system", (Text("It is " + "a thing. " * 400 + "You must sing. " + "b. " * 400),))
    late = Turn("system", (Text("Be kind. " + "c. " * 2000),))
    loop = [turn for i in range(40) for turn in exchange(str(i))]
    conversation = Conversation(
        model="m", turns=(user("old"), setup, assistant("ok"), user("go"), late, *loop)
    )
    fitted = fit(conversation, 1300, count)
    assert {cut.what for cut in fitted.cuts} == {"system", "turns"}
    kept, words, behind, *rest = fitted.conversation.turns
    assert [turn.role for turn in (kept, words, behind)] == ["system", "user", "system"]
    assert text_of(kept)[0].startswith("It is a thing.")
    assert "You must sing." in text_of(kept)[0]
    assert text_of(behind)[0].startswith("Be kind.")
    assert MARK in text_of(behind)[0]
    assert 2 < len(rest) < len(loop)


def test_instructions_between_old_turns_go_with_them() -> None:
    """A reminder of long ago does not outlive its turn."""
    reminder = Turn("system", (Text("reminder " * 20),))
    talk = [
        turn for i in range(30) for turn in (user(f"{i} " + "q" * 90), assistant("a"), reminder)
    ]
    conversation = Conversation(model="m", turns=(*talk, user("now")))
    fitted = fit(conversation, 500, count).conversation
    assert 2 < len(fitted.turns) < 40
    assert fitted.turns == conversation.turns[-len(fitted.turns) :]


def test_tools_that_the_user_speaks_of_outlast_the_others() -> None:
    """The user's words choose among tools of which none was used yet."""
    tools = (
        Tool(name="GetWeather", description="Tells sun, rain and wind of a town."),
        Tool(name="BookFlight", description="Books a flight between two airports."),
        Tool(name="SendMail", description="Sends a message to a person."),
        Tool(name="Convert", description="Converts amounts between currencies."),
    )

    def kept(words: str) -> tuple[Tool, ...]:
        conversation = Conversation(model="m", tools=tools, turns=(user(words),))
        return fit(conversation, 150, count).conversation.tools

    assert kept("What will the weather be?") == tools[:1]
    assert kept("How much is it in other currencies, the amounts please") == tools[3:]


def test_a_tool_gives_its_explanations_before_it_goes() -> None:
    """What is left of it is its first sentence and a schema that admits the same."""
    parameters = {
        "type": "object",
        "properties": {
            "description": {"type": "string", "description": "why " * 200},
            "n": {"enum": [1, 2], "default": 1, "examples": [1]},
        },
        "required": ["description"],
    }
    tool = Tool(name="run", description="Runs it. Then it stops.", parameters=parameters)
    conversation = Conversation(model="m", tools=(tool,), turns=(user("go"),))
    fitted = fit(conversation, 200, count)
    assert [(cut.what, cut.count) for cut in fitted.cuts] == [("tool_descriptions", 1)]
    (kept,) = fitted.conversation.tools
    assert kept.description == "Runs it."
    assert kept.parameters == {
        "type": "object",
        "properties": {"description": {"type": "string"}, "n": {"enum": [1, 2]}},
        "required": ["description"],
    }


def test_shortened_arguments_stay_json() -> None:
    """Only the texts in them lose their middle."""
    arguments = msgspec.json.encode({"path": "a.py", "lines": ["x" * 9000], "n": 1}).decode()
    call = ToolCall(id="1", name="write", arguments=arguments)
    answer = Turn("user", (ToolResult(call_id="1", text="done"),))
    conversation = Conversation(
        model="m", turns=(user("go"), Turn("assistant", (call,)), answer, user("and now?"))
    )
    fitted = fit(conversation, 500, count).conversation
    (kept,) = fitted.turns[1].parts
    assert isinstance(kept, ToolCall)
    told = msgspec.json.decode(kept.arguments)
    assert (told["path"], told["n"]) == ("a.py", 1)
    assert MARK in told["lines"][0]


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
    """A Claude Code request of 50 KiB fits in 2000 tokens, with room for the next turns."""
    conversation = captured.conversation("cc329-ok-000")
    fitted = fit(conversation, 2000, count)
    assert count(conversation) > 10_000
    assert 1400 <= count(fitted.conversation) <= 1750
    assert fitted.conversation.turns[0] == conversation.turns[0]
    assert [cut.what for cut in fitted.cuts] == ["tools", "system"]


@pytest.mark.parametrize("budget", [300, 2000, 6000])
def test_captured_requests_fit_with_the_users_words(budget: int) -> None:
    """Whatever real clients send fits, and short last words are never touched."""
    for name, conversation in captured.conversations().items():
        fitted = fit(conversation, budget, count).conversation
        assert count(fitted) <= budget, name
        if len(last_words(conversation)) < 400:
            assert last_words(fitted) == last_words(conversation), name
