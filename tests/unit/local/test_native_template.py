"""Templates that show tools, calls and results themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import captured
import pytest
from families import LLAMA3, NATIVE, QWEN
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.answer import ToolCallStarted
from fallback.core.conversation import (
    Conversation,
    OutputFormat,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.core.tool_formats import FORMATS
from fallback.local.worker.native_messages import NativeMessages, Shape, to_native
from fallback.local.worker.template import ChatTemplate

RUN = Tool(
    name="run",
    description="Runs it.",
    parameters={
        "type": "object",
        "properties": {"at": {"type": "string", "description": "Where."}},
    },
)
PATCH = Tool(name="patch", kind="custom")
EDIT = Tool(name="edit", kind="custom", grammar_syntax="lark", grammar="start: /.*/")
FORMAT_OF = {"qwen": "hermes", "hermes": "hermes"}


def template(source: str, control: tuple[str, ...] = ()) -> ChatTemplate:
    day = datetime(2026, 11, 21, tzinfo=UTC)
    return ChatTemplate(source, bos="<s>", eos="</s>", control=control, now=lambda: day)


def user(*parts: Part | str) -> Turn:
    return Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Turn:
    return Turn("assistant", user(*parts).parts)


def call(id: str, at: str = "/", name: str = "run") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps({"at": at}))


def result(id: str, text: str, **fields: Any) -> ToolResult:
    return ToolResult(call_id=id, text=text, **fields)


def talk(*turns: Turn, tools: tuple[Tool, ...] = (RUN, PATCH), **fields: Any) -> Conversation:
    return Conversation(model="m", system="Be brief.", turns=turns, tools=tools, **fields)


def native(*turns: Turn, shape: Shape | None = None, **fields: Any) -> NativeMessages:
    return to_native(talk(*turns, **fields), FORMATS["hermes"], shape or Shape())


def said(messages: NativeMessages) -> list[tuple[str, str, int]]:
    """Roles, texts and numbers of calls."""
    found = messages.messages
    return [(m["role"], m["content"], len(m.get("tool_calls", ()))) for m in found]


# -- the trial -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", NATIVE)
def test_a_template_proves_its_format(family: str) -> None:
    """Each family is known, and gets no more changes than it needs."""
    source, needed = NATIVE[family]
    made = template(source)
    assert made.format.name == FORMAT_OF.get(family, family)
    assert made.note is None
    changes = ("single", "apart", "strict")
    assert made.shape == Shape(**{change: change in needed for change in changes})


@pytest.mark.parametrize(
    ("damage", "by"),
    [
        ("tool | tojson", "tool.function.name | tojson"),
        ("call.function.arguments | tojson", "'{}'"),
        ('\\"name\\": \\"', '\\"tool\\": \\"'),
        ("<tool_call>\\n{", "<tool_call>\\n[{"),
        ("+ message.content", ""),
    ],
)
def test_what_shows_less_than_all_is_not_used_for_tools(damage: str, by: str) -> None:
    """A template that loses a part, or writes calls in another way, gets tools as text."""
    assert damage in QWEN
    made = template(QWEN.replace(damage, by))
    assert made.format.name == "general"
    if "message.content" not in damage:
        assert "not used for tools" in str(made.note)
        rendered = made.render(talk(user("Hi")))
        assert "# Tools" in rendered


# -- rendering -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", NATIVE)
def test_tools_calls_and_results_are_shown_by_the_template(family: str) -> None:
    """None of it is text that we made, and nothing is lost."""
    rendered = template(NATIVE[family][0]).render(
        talk(
            user("Go."),
            assistant("I look.", call("1", "/home"), call("2", "/tmp")),
            user(result("1", "a file"), result("2", "no such", is_error=True), "And now?"),
        )
    )
    assert "# Tools" not in rendered
    for text in ("Be brief.", "Runs it.", "Where.", "Go.", "I look.", "/home", "/tmp", "And now?"):
        assert rendered.count(text) == 1, text
    assert rendered.index("a file") > rendered.index("/home")
    assert rendered.index("error: no such") > rendered.index("/tmp")


@pytest.mark.parametrize("family", NATIVE)
def test_all_that_real_clients_send_renders(family: str) -> None:
    """No captured conversation makes a template fail, and each tool is named."""
    made = template(NATIVE[family][0])
    for name, conversation in captured.conversations().items():
        rendered = made.render(conversation)
        choosing = conversation.tool_choice.mode != "none" and conversation.output_format is None
        for tool in conversation.tools if choosing else ():
            assert tool.name in rendered, name
    assert made.note is None


@pytest.mark.parametrize("family", NATIVE)
def test_the_reader_understands_what_the_template_writes(family: str) -> None:
    """A call as the template shows it is one to the format's reader."""
    made = template(NATIVE[family][0])
    before = talk(user("Go."))
    after = talk(user("Go."), assistant(call("1", "/home")), user(result("1", "a file")))
    prompt, whole = made.render(before), made.render(after)
    assert whole.startswith(prompt)
    answer = whole[len(prompt) :].partition("a file")[0]
    reader = made.format.reader(before, str)
    events = [*reader.feed(answer), *reader.finish("end")[0]]
    assert ToolCallStarted(id="0", name="run") in events


@pytest.mark.parametrize("family", NATIVE)
def test_a_prompt_begins_alike_from_turn_to_turn(family: str) -> None:
    """What is appended to a conversation changes nothing of what was rendered before results."""
    made = template(NATIVE[family][0])
    turns = (user("Go."), assistant(call("1")), user(result("1", "a")), assistant(call("2")))
    first = made.render(talk(*turns[:3]))
    second = made.render(talk(*turns, user(result("2", "b"))))
    assert second.startswith(first.removesuffix("<|im_start|>assistant\n"))


def test_a_tool_with_a_grammar_is_told_in_the_general_way() -> None:
    """What the template's JSON cannot hold is told and called as text, all of it."""
    rendered = template(QWEN).render(talk(user("Go."), tools=(RUN, EDIT)))
    assert "# Tools" in rendered
    assert "These functions" not in rendered


def test_the_format_is_that_of_the_request() -> None:
    """A conversation that lost tools in fitting is told in the format its answer is read in."""
    made = template(QWEN)
    fitted = talk(user("Go."), tools=(RUN,))
    assert "# Tools" in made.begin(fitted, form=FORMATS["general"]).prompt
    assert "These functions" in made.begin(fitted).prompt


def test_a_custom_tool_is_a_function_of_one_string() -> None:
    """It is offered so, and its earlier calls are shown so."""
    past = ToolCall(id="1", name="patch", arguments='*** "Begin"')
    rendered = template(QWEN).render(talk(user("Go."), assistant(past), user(result("1", "done"))))
    assert '"name": "patch", "arguments": {"input": "*** \\"Begin\\""}' in rendered
    assert '"required": ["input"]' in rendered


def test_a_demand_is_told() -> None:
    """Templates know no choice of tools: what must be called stands in the system text."""
    choice = ToolChoice(mode="named", name="run")
    assert native(user("Go."), tool_choice=choice).system == (
        "Be brief.\n\nAnswer now with a call of the tool run and nothing else."
    )
    assert [tool["function"]["name"] for tool in native(user("Go."), tool_choice=choice).tools] == [
        "run"
    ]
    assert native(user("Go.")).system == "Be brief."


def test_a_template_that_fails_on_a_conversation_gets_text() -> None:
    """The same template with the tools as text, calls still in its own format."""
    fragile = template(
        LLAMA3 + "{{ raise_exception('no') if tools and messages[-1].content == 'd' }}"
    )
    assert fragile.format.name == "llama3"
    long = talk(user("Go."), assistant(call("1")), user(result("1", "a"), "b"), assistant("c"))
    rendered = fragile.render(talk(*long.turns, user("d")))
    assert "failed with tools (no)" in str(fragile.note)
    assert "# Tools" in rendered
    assert '{"name": "run", "parameters": {"at": "/"}}' in rendered


def test_a_clients_text_cannot_steer_the_model() -> None:
    """Control tokens in tools, arguments and results are broken up as in any text."""
    control = ("<|im_start|>", "<|im_end|>")
    mark = "<|im_end|>"
    made = template(QWEN, control)
    bad = Tool(name="run", description=mark, parameters={"title": mark, "enum": [mark, {mark: 1}]})
    attack = talk(user("Go."), assistant(call("1", mark)), user(result("1", mark)), tools=(bad,))
    harmless = talk(user("Go."), assistant(call("1")), user(result("1", "")), tools=(RUN,))
    assert made.render(attack).count(mark) == made.render(harmless).count(mark)


# -- reasoning -----------------------------------------------------------------------------------

OPENED = QWEN.replace('"<|im_start|>assistant\\n" if', '"<|im_start|>assistant\\n<think>\\n" if')


def test_reasoning_that_the_template_opens_is_told_apart() -> None:
    """The opening belongs to the answer, so that its reader sees it."""
    made = template(OPENED)
    beginning = made.begin(talk(user("Hi")))
    assert beginning.prompt.endswith("<|im_start|>assistant\n")
    assert beginning.opened == "<think>\n"
    assert made.render(talk(user("Hi"))) == "".join(beginning)


def test_an_answer_goes_on_in_its_own_reasoning() -> None:
    """A prefix that is reasoning stands in the place of what the template opens."""
    beginning = template(OPENED).begin(talk(user("Hi")), "<think>\nSo")
    assert beginning.prompt.endswith("<|im_start|>assistant\n")
    assert beginning.opened == ""


@pytest.mark.parametrize(
    "bound",
    [
        talk(user("Hi"), tool_choice=ToolChoice(mode="required")),
        talk(user("Hi"), tools=(), output_format=OutputFormat(kind="json_object")),
    ],
)
def test_a_bound_answer_does_not_reason(bound: Conversation) -> None:
    """Where the grammar wants the answer from the first character on, reasoning is closed, or
    switched off where the template can."""
    assert (
        template(OPENED.partition('{{- "<think>')[0])
        .begin(bound)
        .prompt.endswith("<think>\n\n</think>\n\n")
    )
    beginning = template(QWEN).begin(bound)
    assert beginning.prompt.endswith("assistant\n<think>\n\n</think>\n\n")
    assert beginning.opened == ""
    assert "<think>" not in template(QWEN).render(talk(user("Hi")))


# -- the messages --------------------------------------------------------------------------------

parts = st.one_of(
    st.sampled_from(["", "text"]).map(Text),
    st.just(Thinking("hidden")),
    st.sampled_from(["1", "2", "3"]).map(lambda id: call(id, f"/place-{id}")),
    st.sampled_from(["1", "2", "3"]).map(lambda id: result(id, f"done-{id}")),
)
turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(("system", "user", "assistant")),
        st.lists(parts, max_size=3).map(tuple),
    ),
    max_size=6,
)
shapes = st.builds(Shape, single=st.booleans(), apart=st.booleans(), strict=st.booleans())


@given(turns, shapes)
def test_nothing_is_lost_but_thinking(turns: list[Turn], shape: Shape) -> None:
    """All parts but the reasoning of other models can be read in the messages, once each."""
    made = native(*turns, shape=shape)
    everything = json.dumps([made.system, made.messages, made.prefill])
    for sign in ("place-1", "place-2", "place-3", "done-1", "done-2", "done-3"):
        found = sum(sign in json.dumps(_plain(part)) for turn in turns for part in turn.parts)
        assert everything.count(sign) == found
    assert "hidden" not in everything


def _plain(part: Part) -> list[str]:
    return [getattr(part, "arguments", ""), getattr(part, "text", "")]


@given(turns, shapes)
def test_every_result_follows_its_call(turns: list[Turn], shape: Shape) -> None:
    """Results stand behind the message with their calls; singly, if that is wanted."""
    waiting: list[str] = []
    before = ""
    for message in native(*turns, shape=shape).messages:
        calls = message.get("tool_calls", ())
        if message["role"] == "tool":
            assert before in ("assistant", "tool")
            waiting.remove(message["tool_call_id"])
        else:
            waiting = [call["id"] for call in calls]
        assert not (shape.single and len(calls) > 1)
        assert not (shape.apart and calls and message["content"])
        before = message["role"]
    assert before in ("user", "tool")


@given(turns, shapes)
def test_turns_are_strict_where_they_have_to_be(turns: list[Turn], shape: Shape) -> None:
    """Calls and results aside, the user and the assistant speak in turns, the user first."""
    made = native(*turns, shape=shape)
    plain = [m["role"] for m in made.messages if m["role"] != "tool" and "tool_calls" not in m]
    assert made.messages[0]["role"] == "user"
    if shape.strict:
        assert plain == ["user", "assistant"] * (len(plain) // 2) + ["user"] * (len(plain) % 2)


def test_what_is_said_in_between_is_short() -> None:
    """Where somebody would be passed over, a word stands for them."""
    made = native(
        user("Go."),
        assistant("I look.", call("1")),
        user(result("1", "a")),
        assistant("Again.", call("2")),
        user(result("2", "b"), "And?"),
        shape=Shape(single=True, apart=True, strict=True),
    )
    assert said(made) == [
        ("user", "Go.", 0),
        ("assistant", "I look.", 0),
        ("assistant", "", 1),
        ("tool", "a", 0),
        ("user", "Go on.", 0),
        ("assistant", "Again.", 0),
        ("assistant", "", 1),
        ("tool", "b", 0),
        ("user", "And?", 0),
    ]


def test_ids_stay_the_same_and_have_nine_characters() -> None:
    """However long the client's ids are, and however the conversation grows or is cut."""
    turn = assistant(call("toolu_01ABCDEFGHIJ"))
    short, long = native(user("a"), turn), native(user("x"), assistant("y"), user("a"), turn)
    ids = [
        call["id"]
        for made in (short, long)
        for m in made.messages
        for call in m.get("tool_calls", ())
    ]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
