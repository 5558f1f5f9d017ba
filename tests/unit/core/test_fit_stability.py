"""A conversation grows turn by turn, and each time the whole of it is fitted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolResult, Turn
from fallback.core.fit import fit
from fallback.core.fit_turns import kept_tokens

CHARS_PER_TOKEN = 4
TOOLS = tuple(
    Tool(name=name, description=f"{name} it. " + "explained " * 80)
    for name in ("bash", "read", "edit", "grep", "fetch", "plan")
)


def rendered(conversation: Conversation) -> str:
    """The prompt, in the order in which templates write it."""
    tools = [msgspec.json.encode(tool).decode() for tool in conversation.tools]
    turns = [msgspec.json.encode(turn).decode() for turn in conversation.turns]
    return "\n".join([conversation.system, *tools, *turns])


def count(conversation: Conversation) -> int:
    return len(rendered(conversation)) // CHARS_PER_TOKEN


def common_length(one: str, other: str) -> int:
    """How far two texts are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


class Session:
    """Requests of one conversation, each with all turns so far."""

    def __init__(self, system: str, tools: Sequence[Tool] = ()) -> None:
        self._base = Conversation(model="m", system=system, tools=tuple(tools))
        self._turns: list[Turn] = []

    def request(self, *turns: Turn) -> Conversation:
        self._turns += turns
        return msgspec.structs.replace(self._base, turns=tuple(self._turns))

    def chat(self, sizes: Iterable[tuple[int, int]]) -> Iterator[Conversation]:
        """Question and answer, of so many characters."""
        for n, (asked, said) in enumerate(sizes):
            yield self.request(Turn("user", (Text(f"q{n} " + "w" * asked),)))
            self.request(Turn("assistant", (Text(f"a{n} " + "w" * said),)))

    def loop(self, sizes: Iterable[tuple[int, int]]) -> Iterator[Conversation]:
        """One task of the user's, and tool results of so many characters."""
        yield self.request(Turn("user", (Text("Mend it."),)))
        for n, (asked, gave) in enumerate(sizes):
            arguments = json.dumps({"command": f"{n} " + "x" * asked})
            call = ToolCall(id=str(n), name=TOOLS[n % 2].name, arguments=arguments)
            result = ToolResult(call_id=str(n), text=f"r{n} " + "y" * gave)
            yield self.request(Turn("assistant", (call,)), Turn("user", (result,)))


def read_again(requests: Iterable[Conversation], budget: int) -> tuple[int, int]:
    """How many tokens of all prompts were not the beginning of the one before, and the sum of
    what the conversation grew by."""
    before, read, grown, size = "", 0, 0, 0
    for request in requests:
        prompt = rendered(fit(request, budget, count).conversation)
        assert len(prompt) // CHARS_PER_TOKEN <= budget
        read += len(prompt) - common_length(before, prompt)
        before = prompt
        grown, size = grown + len(rendered(request)) - size, len(rendered(request))
    return read // CHARS_PER_TOKEN, grown // CHARS_PER_TOKEN


sizes = st.lists(st.tuples(st.integers(0, 800), st.integers(0, 1600)), min_size=5, max_size=60)
budgets = st.integers(1000, 8000)


@given(sizes, budgets, st.integers(0, 20_000))
@settings(max_examples=30)
def test_a_chat_is_read_a_few_times_at_most(
    sizes: list[tuple[int, int]], budget: int, system: int
) -> None:
    """What is read in all grows with what is said, not with the number of requests."""
    session = Session("s" * system)
    read, grown = read_again(session.chat(sizes), budget)
    assert read <= 3 * grown + 4 * budget


@given(sizes, budgets, st.integers(0, 20_000))
@settings(max_examples=30)
def test_a_tool_loop_is_read_a_few_times_at_most(
    sizes: list[tuple[int, int]], budget: int, system: int
) -> None:
    """The same while a client works by itself, whatever its tools give back."""
    session = Session("s" * system, TOOLS)
    read, grown = read_again(session.loop(sizes), budget)
    assert read <= 3 * grown + 4 * budget


@pytest.mark.parametrize("budget", [3000, 6000])
def test_most_turns_find_the_prompt_before_as_their_beginning(budget: int) -> None:
    """Of a long chat, more than two in three prompts go on where the last one ended."""
    session = Session("s" * 2000)
    prompts = [
        rendered(fit(request, budget, count).conversation)
        for request in session.chat([(200, 300)] * 100)
    ]
    going_on = sum(after.startswith(before) for before, after in pairwise(prompts))
    assert going_on >= len(prompts) * 2 / 3


def test_the_cut_never_moves_back() -> None:
    """What was dropped from a chat stays dropped."""
    session = Session("s" * 2000)
    firsts = []
    for request in session.chat([(100 + 40 * (n % 7), 60 * (n % 11)) for n in range(120)]):
        kept = fit(request, 2000, count).conversation.turns
        firsts.append(request.turns.index(kept[0]))
    assert firsts == sorted(firsts)
    assert len(set(firsts)) < len(firsts) / 2


@given(sizes, st.integers(500, 8000))
@settings(max_examples=50)
def test_turns_are_kept_from_as_far_back_as_is_promised(
    sizes: list[tuple[int, int]], budget: int
) -> None:
    """Of a chat without anything else, all turns that begin in the last six tenths stay."""
    *_, request = Session("").chat(sizes)
    kept = fit(request, budget, count).conversation.turns
    bare = Conversation(model="m")
    tokens = [
        count(msgspec.structs.replace(bare, turns=(turn,))) - count(bare) for turn in request.turns
    ]
    sure = kept_tokens(budget - count(bare) - len(tokens))
    begin = [sum(tokens[n:]) for n in range(len(tokens))]
    promised = [turn for turn, before in zip(request.turns, begin, strict=True) if before <= sure]
    assert promised == list(kept[len(kept) - len(promised) :])
    assert sure >= budget * 0.55
