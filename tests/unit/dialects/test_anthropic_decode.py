"""Reading requests in the `anthropic` dialect."""

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

READ = {"name": "read", "description": "reads", "input_schema": {"type": "object"}}


def decode(**body: Any) -> Conversation:
    raw = {"model": "claude", "messages": [{"role": "user", "content": "hi"}], **body}
    return DIALECTS["anthropic"].decode(json.dumps(raw).encode())[0]


def parts(*blocks: dict[str, Any], role: str = "user") -> tuple[Any, ...]:
    return decode(messages=[{"role": role, "content": list(blocks)}]).turns[0].parts


def test_roles_and_content_of_every_form() -> None:
    """Content is a string, a list or nothing; roles repeat, and a system turn may be anywhere."""
    turns = decode(
        messages=[
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two"}]},
            {"role": "system", "content": []},
            {"role": "assistant", "content": "three"},
        ]
    ).turns
    assert turns == (
        Turn("user", (Text("one"),)),
        Turn("user", (Text("two"),)),
        Turn("system", ()),
        Turn("assistant", (Text("three"),)),
    )


def test_system_texts_become_paragraphs() -> None:
    """The system prompt's blocks, and system messages at the head, are one text."""
    conversation = decode(
        system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        messages=[{"role": "system", "content": "c"}, {"role": "user", "content": "hi"}],
    )
    assert conversation.system == "a\n\nb\n\nc"
    assert len(conversation.turns) == 1


def test_a_call_and_its_result() -> None:
    """A tool's input is JSON text; its result may be text or blocks, with images apart."""
    call = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}}
    assert parts(call, role="assistant") == (
        ToolCall(id="t1", name="read", arguments='{"path":"a"}'),
    )
    plain = {"type": "tool_result", "tool_use_id": "t1", "content": "done", "is_error": True}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
    rich = {**plain, "is_error": False, "content": [{"type": "text", "text": "a"}, image]}
    assert parts(plain, rich, {"type": "tool_result", "tool_use_id": "t2"}) == (
        ToolResult(call_id="t1", text="done", is_error=True),
        ToolResult(call_id="t1", text="a"),
        Attachment(kind="image", media_type="image/png"),
        ToolResult(call_id="t2", text=""),
    )


def test_what_a_text_model_cannot_see_is_an_attachment() -> None:
    """Images, binary documents and uploads stay visible as attachments, never as their bytes."""
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0"}
    assert parts(
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "title": "Plan", "source": pdf},
        {"type": "container_upload", "file_id": "f"},
    ) == (
        Attachment(kind="image"),
        Attachment(kind="document", media_type="application/pdf", name="Plan"),
        Attachment(kind="file"),
    )


def test_documents_of_text_are_read() -> None:
    """A document that is text is text."""
    plain = {"type": "text", "media_type": "text/plain", "data": "body"}
    blocks = {"type": "content", "content": [{"type": "text", "text": "block"}]}
    assert parts(
        {"type": "document", "title": "Plan", "source": plain},
        {"type": "document", "source": blocks},
        {"type": "search_result", "title": "Found", "content": [{"type": "text", "text": "it"}]},
    ) == (Text("Plan\n\nbody"), Text("block"), Text("Found\nit"))


def test_thinking_is_kept_apart() -> None:
    """Thinking is thinking, and redacted thinking is thinking without text."""
    assert parts(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "encrypted"},
        role="assistant",
    ) == (Thinking("hm"), Thinking(""))


def test_the_providers_own_blocks_give_their_text() -> None:
    """Blocks of server tools leave the text they have, and unknown ones nothing at all."""
    found = {"type": "web_search_result", "title": "News", "encrypted_content": "x"}
    assert parts(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]},
        {"type": "mcp_tool_result", "content": [{"type": "text", "text": "from mcp"}]},
        {"type": "something_new", "payload": {"a": 1}},
    ) == (Text("News"), Text("from mcp"))


def test_only_tools_that_we_can_offer_are_offered() -> None:
    """A tool needs a schema, and a deferred one must have been called or found before."""
    tools = [
        READ,
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "bash_20250124", "name": "bash"},
        {**READ, "name": "called", "defer_loading": True},
        {**READ, "name": "found", "defer_loading": True},
        {**READ, "name": "unused", "defer_loading": True},
    ]
    reference = {"type": "tool_reference", "tool_name": "found"}
    messages = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "called", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "content": [reference]}],
        },
    ]
    offered = decode(tools=tools, messages=messages).tools
    assert [tool.name for tool in offered] == ["read", "called", "found"]
    assert offered[0] == Tool(name="read", description="reads", parameters={"type": "object"})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "none"}, ToolChoice(mode="none")),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            ToolChoice(mode="required", parallel=False),
        ),
        ({"type": "tool", "name": "read"}, ToolChoice(mode="named", name="read")),
        ({"type": "tool", "name": "web_search"}, ToolChoice()),
        ("any", ToolChoice()),
    ],
)
def test_tool_choice(given: Any, meant: ToolChoice) -> None:
    """Each form of the tool choice, and one for a tool that cannot be offered."""
    assert decode(tools=[READ], tool_choice=given).tool_choice == meant


def test_structured_output_in_both_spellings() -> None:
    """The schema is taken from `output_config.format` and from the older `output_format`."""
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    meant = OutputFormat(kind="json_schema", schema={"type": "object"}, strict=True)
    assert decode(output_config={"effort": "low", "format": wanted}).output_format == meant
    assert decode(output_format=wanted).output_format == meant
    assert decode(output_config={"effort": "low"}).output_format is None


def test_sampling_keeps_only_numbers() -> None:
    """Sampling settings of the wrong type are as if not sent."""
    sampling = decode(
        max_tokens=9, temperature=0, top_p="1", top_k=True, stop_sequences=["END", "", 3]
    ).sampling
    assert (sampling.max_tokens, sampling.temperature) == (9, 0.0)
    assert (sampling.top_p, sampling.top_k) == (None, None)
    assert sampling.stop == ("END",)
