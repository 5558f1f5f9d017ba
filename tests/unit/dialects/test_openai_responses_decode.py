"""Reading requests in the `openai-responses` dialect."""

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
from fallback.core.errors import BadRequest
from fallback.dialects import DIALECTS

SCHEMA = {"type": "object"}
READ = {"type": "function", "name": "read", "parameters": SCHEMA}
PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "edits",
    "format": {"type": "grammar", "syntax": "regex", "definition": "a+"},
}


def decode(**body: Any) -> Conversation:
    raw = {"model": "gpt", "input": "hi", **body}
    return DIALECTS["openai-responses"].decode(json.dumps(raw).encode())[0]


def test_input_as_a_string() -> None:
    """A string is one turn of the user's, and the instructions are the system text."""
    conversation = decode(instructions="be brief")
    assert conversation.system == "be brief"
    assert conversation.turns == (Turn("user", (Text("hi"),)),)


def test_messages_with_and_without_a_type() -> None:
    """Messages may leave out their type; developers at the head are the system text."""
    conversation = decode(
        input=[
            {"type": "message", "role": "developer", "content": "rules"},
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "yes"}],
            },
            {"type": "message", "role": "user", "content": "and?"},
        ]
    )
    assert conversation.system == "rules"
    assert conversation.turns == (
        Turn("user", (Text("hi"),)),
        Turn("assistant", (Text("yes"),)),
        Turn("user", (Text("and?"),)),
    )


def test_what_a_text_model_cannot_see_is_an_attachment() -> None:
    """Images and files stay visible as attachments, never as their bytes."""
    content = [
        {"type": "input_image", "image_url": "data:image/png;base64,AA"},
        {"type": "input_file", "filename": "a.pdf", "file_id": "f"},
    ]
    (turn,) = decode(input=[{"role": "user", "content": content}]).turns
    assert turn.parts == (
        Attachment(kind="image", media_type="image/png"),
        Attachment(kind="file", name="a.pdf"),
    )


def test_the_items_of_one_side_are_one_turn() -> None:
    """Reasoning and calls that follow each other are one turn, and so are their results."""
    exec_ = {"type": "exec", "command": ["ls"]}
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "local_shell_call", "call_id": "c3", "action": exec_},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "two"}, {"type": "input_image"}],
        },
        {"type": "local_shell_call_output", "id": "c3", "output": "three"},
    ]
    _, called, answered = decode(input=items).turns
    assert called == Turn(
        "assistant",
        (
            Thinking("hm"),
            ToolCall(id="c1", name="read", arguments="{}"),
            ToolCall(id="c2", name="patch", arguments="*** Begin"),
            ToolCall(id="c3", name="local_shell", arguments='{"type":"exec","command":["ls"]}'),
        ),
    )
    assert answered == Turn(
        "user",
        (
            ToolResult(call_id="c1", text="one"),
            ToolResult(call_id="c2", text="two"),
            Attachment(kind="image"),
            ToolResult(call_id="c3", text="three"),
        ),
    )


def test_a_screenshot_is_a_result_with_an_attachment() -> None:
    """The output of the computer tool is an image, which is told but not seen."""
    output = {"type": "computer_screenshot", "image_url": "data:image/png;base64,AA"}
    (turn,) = decode(
        input=[{"type": "computer_call_output", "call_id": "c", "output": output}]
    ).turns
    assert turn.parts == (
        ToolResult(call_id="c", text=""),
        Attachment(kind="image", media_type="image/png"),
    )


def test_encrypted_reasoning_and_stored_items_are_survived() -> None:
    """What only the provider can read leaves no text, and does not end the turn."""
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_call", "id": "m", "name": "x", "output": "from mcp"},
        {"type": "compaction", "encrypted_content": "gAAA"},
    ]
    _, turn = decode(input=items).turns
    assert turn == Turn("assistant", (Thinking(""), Text("from mcp")))


def test_tools_of_every_origin() -> None:
    """Functions, custom tools, those of namespaces and those loaded later are offered."""
    tools = [
        READ,
        PATCH,
        {"type": "web_search"},
        {"type": "tool_search", "execution": "client", "parameters": SCHEMA},
        {"type": "local_shell"},
        {"type": "namespace", "name": "files", "tools": [{**READ, "name": "list"}]},
        {**READ, "name": "found", "defer_loading": True},
        {**READ, "name": "unused", "defer_loading": True},
    ]
    items = [
        {"role": "user", "content": "hi"},
        {"type": "tool_search_output", "tools": [{**READ, "name": "found"}]},
        {"type": "additional_tools", "role": "developer", "tools": [{**READ, "name": "more"}]},
    ]
    conversation = decode(tools=tools, input=items)
    names = [tool.name for tool in conversation.tools]
    assert names == ["read", "patch", "list", "found", "more"]
    assert conversation.tools[1] == Tool(
        name="patch", description="edits", kind="custom", grammar_syntax="regex", grammar="a+"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("required", ToolChoice(mode="required")),
        ("none", ToolChoice(mode="none")),
        ({"type": "function", "name": "read"}, ToolChoice(mode="named", name="read")),
        ({"type": "custom", "name": "patch"}, ToolChoice(mode="named", name="patch")),
        ({"type": "web_search_preview"}, ToolChoice()),
        ({"type": "mcp", "server_label": "x"}, ToolChoice()),
    ],
)
def test_tool_choice(given: Any, meant: ToolChoice) -> None:
    """Each form of the tool choice; one for the provider's own tools leaves the model free."""
    assert decode(tools=[READ, PATCH], tool_choice=given).tool_choice == meant


def test_allowed_tools_narrow_the_offer() -> None:
    """A choice among allowed tools leaves only those on offer."""
    allowed = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "read"}],
    }
    conversation = decode(tools=[READ, PATCH], tool_choice=allowed, parallel_tool_calls=False)
    assert [tool.name for tool in conversation.tools] == ["read"]
    assert conversation.tool_choice == ToolChoice(parallel=False)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat(kind="json_object")),
        (
            {"type": "json_schema", "name": "p", "schema": SCHEMA},
            OutputFormat(kind="json_schema", schema=SCHEMA),
        ),
    ],
)
def test_structured_output(given: Any, meant: OutputFormat | None) -> None:
    """`text.format` is structured output unless it asks for text."""
    assert decode(text={"format": given}).output_format == meant


@pytest.mark.parametrize("nothing", [None, 7, [], [{"type": "item_reference", "id": "x"}]])
def test_nothing_to_answer_is_the_clients_mistake(nothing: Any) -> None:
    """An input without any message, call or result cannot be answered by anyone."""
    with pytest.raises(BadRequest, match="input"):
        decode(input=nothing)
