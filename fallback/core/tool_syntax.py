"""Which tools an answer may call, and which it must."""

from __future__ import annotations

from fallback.core.conversation import Conversation, Tool


def may_call_tools(conversation: Conversation) -> bool:
    """Whether the answer may hold tool calls.

    A structured output leaves no room for a call, unless the client insists on one.
    """
    if not conversation.tools or conversation.tool_choice.mode == "none":
        return False
    return conversation.output_format is None or must_call_tools(conversation)


def must_call_tools(conversation: Conversation) -> bool:
    """Whether the answer has to be a tool call."""
    return bool(conversation.tools) and conversation.tool_choice.mode in ("required", "named")


def callable_tools(conversation: Conversation) -> tuple[Tool, ...]:
    """The tools that the answer may call, each name once.

    A choice that names a tool which is not there leaves them all.
    """
    if not may_call_tools(conversation):
        return ()
    by_name = {tool.name: tool for tool in conversation.tools}
    choice = conversation.tool_choice
    if choice.mode == "named" and choice.name in by_name:
        return (by_name[choice.name],)
    return tuple(by_name.values())
