"""Reading requests in the `openai-chat` dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.dialects import DIALECTS

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
READ = {"type": "function", "function": {"name": "read", "parameters": SCHEMA}}
PATCH = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}},
    },
}


def decode(**body: Any) -> Conversation:
    raw = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], **body}
    return DIALECTS["openai-chat"].decode(json.dumps(raw).encode())[0]


def turn(**message: Any) -> Turn:
    return decode(messages=[message]).turns[0]


def test_system_and_developer_lead_into_the_system_text() -> None:
    """Both names of the system role are one; a later one stays where it was said."""
    conversation = decode(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "c"},
        ]
    )
    assert conversation.system == "a\n\nb"
    assert [turn.role for turn in conversation.turns] == ["user", "system"]


def test_a_system_prompt_alone_is_still_answered() -> None:
    """At least one turn stays, for there must be something to answer."""
    assert decode(messages=[{"role": "system", "content": "a"}]).turns == (
        Turn("system", (Text("a"),)),
    )


def test_parts_of_a_user() -> None:
    """Text is read; images, audio and files are attachments with what is known of them."""
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
        },
    ]
    assert turn(role="user", content=content).parts == (
        Text("look"),
        Attachment(kind="image", media_type="image/png"),
        Attachment(kind="image"),
        Attachment(kind="audio", media_type="audio/wav"),
        Attachment(kind="file", media_type="application/pdf", name="a.pdf"),
    )


def test_parts_of_an_assistant() -> None:
    """An assistant's turn holds its reasoning, text, refusals and calls of both kinds."""
    function = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    assert turn(
        role="assistant",
        reasoning_content="hm",
        content=[{"type": "refusal", "refusal": "no"}],
        tool_calls=[function, custom],
    ) == Turn(
        "assistant",
        (
            Thinking("hm"),
            Text("no"),
            ToolCall(id="c1", name="read", arguments="{}"),
            ToolCall(id="c2", name="patch", arguments="*** Begin"),
        ),
    )
    assert turn(role="assistant", content=None, refusal="no").parts == (Text("no"),)


def test_results_of_tools() -> None:
    """A tool's message is a result of the user's, by the id or, before ids, by the name."""
    assert turn(role="tool", tool_call_id="c1", content=[{"type": "text", "text": "a"}]) == Turn(
        "user", (ToolResult(call_id="c1", text="a"),)
    )
    call = {"role": "assistant", "function_call": {"name": "read", "arguments": "{}"}}
    result = {"role": "function", "name": "read", "content": "a"}
    asked, answered = decode(messages=[call, result]).turns
    assert asked.parts == (ToolCall(id="read", name="read", arguments="{}"),)
    assert answered.parts == (ToolResult(call_id="read", text="a"),)


def test_tools_of_both_kinds() -> None:
    """Functions and custom tools are offered; anything else is the provider's own."""
    assert decode(tools=[READ, PATCH, {"type": "web_search"}, "x"]).tools == (
        Tool(name="read", parameters=SCHEMA),
        Tool(name="patch", kind="custom", grammar_syntax="lark", grammar='start: "a"'),
    )


def test_functions_from_before_tools() -> None:
    """`functions` are tools of which one may be called at a time."""
    conversation = decode(
        functions=[{"name": "read", "parameters": SCHEMA}], function_call={"name": "read"}
    )
    assert conversation.tools == (Tool(name="read", parameters=SCHEMA),)
    assert conversation.tool_choice == ToolChoice(mode="named", name="read", parallel=False)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "function": {"name": "read"}}, ToolChoice(mode="named", name="read")),
        ({"type": "custom", "custom": {"name": "patch"}}, ToolChoice(mode="named", name="patch")),
        ({"type": "function", "function": {"name": "gone"}}, ToolChoice()),
    ],
)
def test_tool_choice(given: Any, meant: ToolChoice) -> None:
    """Each form of the tool choice, and one for a tool that is not offered."""
    assert decode(tools=[READ, PATCH], tool_choice=given).tool_choice == meant


def test_allowed_tools_narrow_the_offer() -> None:
    """A choice among allowed tools leaves only those on offer."""
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "custom", "custom": {"name": "patch"}}],
        },
    }
    conversation = decode(tools=[READ, PATCH], tool_choice=choice)
    assert [tool.name for tool in conversation.tools] == ["patch"]
    assert conversation.tool_choice == ToolChoice(mode="required")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat(kind="json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}},
            OutputFormat(kind="json_schema", schema=SCHEMA),
        ),
    ],
)
def test_structured_output(given: Any, meant: OutputFormat | None) -> None:
    """`response_format` is structured output unless it asks for text."""
    assert decode(response_format=given).output_format == meant


def test_sampling() -> None:
    """The newer limit wins over the older, and `stop` is a string or a list."""
    sampling = decode(
        max_tokens=1, max_completion_tokens=2, stop="END", seed=3, presence_penalty=0.5
    ).sampling
    assert (sampling.max_tokens, sampling.seed, sampling.presence_penalty) == (2, 3, 0.5)
    assert sampling.stop == ("END",)
    assert decode(stop=["A", "B"], max_tokens=0).sampling.stop == ("A", "B")
    assert decode(max_tokens=0).sampling.max_tokens == 1
    assert decode(seed=2**70).sampling.seed is None
