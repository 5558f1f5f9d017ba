"""What applications do with the official SDKs, one function a use; sync and async.

Each gives plain data, so that answers from different places can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pydantic
from anthropic import Anthropic, AsyncAnthropic, DefaultAsyncHttpxClient, DefaultHttpxClient
from openai import AsyncOpenAI, OpenAI

CLAUDE = "claude-opus-5-5"
GPT = "gpt-5.5"


class City(pydantic.BaseModel):
    """What structured output is asked for."""

    name: str
    large: bool


_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
_TURN: Any = {"role": "user", "content": "Name a city. Answer in one word."}
_TOOL_TURN: Any = {"role": "user", "content": "[[call get_weather]] What is the weather?"}
_CLAUDE_TOOL: Any = {"name": "get_weather", "description": "Weather.", "input_schema": _SCHEMA}
_CLAUDE_RESULTS: Any = [
    _TOOL_TURN,
    {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Rome"}}
        ],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees"}],
    },
]
_FUNCTION = {"name": "get_weather", "description": "Weather.", "parameters": _SCHEMA}
_CHAT_TOOL: Any = {"type": "function", "function": {**_FUNCTION, "strict": True}}
_CHAT_RESULTS: Any = [
    _TOOL_TURN,
    {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
]
_RESPONSES_TOOL: Any = {"type": "function", "strict": True, **_FUNCTION}
_RESPONSES_RESULTS: Any = [
    _TOOL_TURN,
    {
        "type": "function_call",
        "call_id": "call_1",
        "name": "get_weather",
        "arguments": '{"city": "Rome"}',
    },
    {"type": "function_call_output", "call_id": "call_1", "output": "12 degrees"},
]
_CLAUDE: Any = {"model": CLAUDE, "max_tokens": 64}


def _data(found: pydantic.BaseModel) -> dict[str, Any]:
    data = found.model_dump(mode="json", warnings=False)
    assert data
    return data


def messages(client: Anthropic) -> Any:
    return _data(client.messages.create(messages=[_TURN], **_CLAUDE))


def messages_stream(client: Anthropic) -> Any:
    with client.messages.stream(messages=[_TURN], **_CLAUDE) as stream:
        text = "".join(stream.text_stream)
        assert text == stream.get_final_text()
        return _data(stream.get_final_message())


def messages_tool(client: Anthropic) -> Any:
    choice: Any = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(
        messages=[_TOOL_TURN], tools=[_CLAUDE_TOOL], tool_choice=choice, **_CLAUDE
    )
    calls = [block for block in message.content if block.type == "tool_use"]
    assert calls
    assert all(call.input in ({"city": "Paris"}, {"city": "Rome"}) for call in calls)
    assert message.stop_reason == "tool_use"
    return _data(message)


def messages_tool_stream(client: Anthropic) -> Any:
    choice: Any = {"type": "any"}
    with client.messages.stream(
        messages=[_TOOL_TURN], tools=[_CLAUDE_TOOL], tool_choice=choice, **_CLAUDE
    ) as stream:
        message = stream.get_final_message()
    assert message.content[-1].type == "tool_use"
    return _data(message)


def messages_tool_result(client: Anthropic) -> Any:
    return _data(client.messages.create(messages=_CLAUDE_RESULTS, tools=[_CLAUDE_TOOL], **_CLAUDE))


def messages_parse(client: Anthropic) -> Any:
    message = client.messages.parse(messages=[_TURN], output_format=City, **_CLAUDE)
    assert isinstance(message.parsed_output, City)
    return _data(message)


def count_tokens(client: Anthropic) -> Any:
    return _data(client.messages.count_tokens(model=CLAUDE, messages=[_TURN]))


def claude_models(client: Anthropic) -> Any:
    return [_data(model) for model in client.models.list()]


def chat(client: OpenAI) -> Any:
    return _data(client.chat.completions.create(model=GPT, messages=[_TURN]))


def chat_stream(client: OpenAI) -> Any:
    options: Any = {"include_usage": True}
    with client.chat.completions.stream(
        model=GPT, messages=[_TURN], stream_options=options
    ) as stream:
        stream.until_done()
        return _data(stream.get_final_completion())


def chat_tool(client: OpenAI) -> Any:
    completion = client.chat.completions.create(
        model=GPT, messages=[_TOOL_TURN], tools=[_CHAT_TOOL], tool_choice="required"
    )
    assert completion.choices[0].finish_reason == "tool_calls"
    return _data(completion)


def chat_tool_stream(client: OpenAI) -> Any:
    with client.chat.completions.stream(
        model=GPT, messages=[_TOOL_TURN], tools=[_CHAT_TOOL], tool_choice="required"
    ) as stream:
        stream.until_done()
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls
    assert all(c.function.parsed_arguments in ({"city": "Paris"}, {"city": "Rome"}) for c in calls)
    return _data(completion)


def chat_tool_result(client: OpenAI) -> Any:
    return _data(
        client.chat.completions.create(model=GPT, messages=_CHAT_RESULTS, tools=[_CHAT_TOOL])
    )


def chat_parse(client: OpenAI) -> Any:
    completion = client.chat.completions.parse(model=GPT, messages=[_TURN], response_format=City)
    assert isinstance(completion.choices[0].message.parsed, City)
    return _data(completion)


def responses(client: OpenAI) -> Any:
    response = client.responses.create(model=GPT, input=[_TURN])
    assert response.output_text
    return _data(response)


def responses_stream(client: OpenAI) -> Any:
    with client.responses.stream(model=GPT, input=[_TURN]) as stream:
        stream.until_done()
        return _data(stream.get_final_response())


def responses_tool(client: OpenAI) -> Any:
    response = client.responses.create(
        model=GPT, input=[_TOOL_TURN], tools=[_RESPONSES_TOOL], tool_choice="required"
    )
    assert {item.type for item in response.output} == {"function_call"}
    return _data(response)


def responses_tool_stream(client: OpenAI) -> Any:
    with client.responses.stream(
        model=GPT, input=[_TOOL_TURN], tools=[_RESPONSES_TOOL], tool_choice="required"
    ) as stream:
        stream.until_done()
        return _data(stream.get_final_response())


def responses_tool_result(client: OpenAI) -> Any:
    return _data(
        client.responses.create(model=GPT, input=_RESPONSES_RESULTS, tools=[_RESPONSES_TOOL])
    )


def responses_parse(client: OpenAI) -> Any:
    response = client.responses.parse(model=GPT, input=[_TURN], text_format=City)
    assert isinstance(response.output_parsed, City)
    return _data(response)


def gpt_models(client: OpenAI) -> Any:
    return [_data(model) for model in client.models.list()]


async def async_messages(client: AsyncAnthropic) -> Any:
    return _data(await client.messages.create(messages=[_TURN], **_CLAUDE))


async def async_messages_stream(client: AsyncAnthropic) -> Any:
    async with client.messages.stream(messages=[_TURN], **_CLAUDE) as stream:
        assert "".join([text async for text in stream.text_stream])
        return _data(await stream.get_final_message())


async def async_messages_parse(client: AsyncAnthropic) -> Any:
    message = await client.messages.parse(messages=[_TURN], output_format=City, **_CLAUDE)
    assert isinstance(message.parsed_output, City)
    return _data(message)


async def async_chat(client: AsyncOpenAI) -> Any:
    return _data(await client.chat.completions.create(model=GPT, messages=[_TURN]))


async def async_chat_stream(client: AsyncOpenAI) -> Any:
    async with client.chat.completions.stream(model=GPT, messages=[_TURN]) as stream:
        return _data(await stream.get_final_completion())


async def async_chat_parse(client: AsyncOpenAI) -> Any:
    completion = await client.chat.completions.parse(
        model=GPT, messages=[_TURN], response_format=City
    )
    assert isinstance(completion.choices[0].message.parsed, City)
    return _data(completion)


async def async_responses(client: AsyncOpenAI) -> Any:
    return _data(await client.responses.create(model=GPT, input=[_TURN]))


async def async_responses_stream(client: AsyncOpenAI) -> Any:
    async with client.responses.stream(model=GPT, input=[_TURN]) as stream:
        return _data(await stream.get_final_response())


async def async_responses_parse(client: AsyncOpenAI) -> Any:
    response = await client.responses.parse(model=GPT, input=[_TURN], text_format=City)
    assert isinstance(response.output_parsed, City)
    return _data(response)


def _named(*calls: Any) -> Mapping[str, Any]:
    return {call.__name__: call for call in calls}


ANTHROPIC: Mapping[str, Callable[[Anthropic], Any]] = _named(
    messages,
    messages_stream,
    messages_tool,
    messages_tool_stream,
    messages_tool_result,
    messages_parse,
    count_tokens,
    claude_models,
)
OPENAI: Mapping[str, Callable[[OpenAI], Any]] = _named(
    chat,
    chat_stream,
    chat_tool,
    chat_tool_stream,
    chat_tool_result,
    chat_parse,
    responses,
    responses_stream,
    responses_tool,
    responses_tool_stream,
    responses_tool_result,
    responses_parse,
    gpt_models,
)
ASYNC_ANTHROPIC: Mapping[str, Callable[[AsyncAnthropic], Awaitable[Any]]] = _named(
    async_messages, async_messages_stream, async_messages_parse
)
ASYNC_OPENAI: Mapping[str, Callable[[AsyncOpenAI], Awaitable[Any]]] = _named(
    async_chat,
    async_chat_stream,
    async_chat_parse,
    async_responses,
    async_responses_stream,
    async_responses_parse,
)
NAMES = (*ANTHROPIC, *OPENAI, *ASYNC_ANTHROPIC, *ASYNC_OPENAI)


def call(name: str, url: str, heads: list[Mapping[str, str]]) -> Any:
    """Do `name` with a fresh client for the service at `url`, without retries.

    The headers of each response are added to `heads`. Raises what the SDK raises.
    """
    if name in ANTHROPIC:
        return _call_anthropic(name, url, heads)
    if name in OPENAI:
        return _call_openai(name, url, heads)
    return asyncio.run(_call_async(name, url, heads))


def _call_anthropic(name: str, url: str, heads: list[Mapping[str, str]]) -> Any:
    http = DefaultHttpxClient(event_hooks={"response": [lambda r: heads.append(r.headers)]})
    with Anthropic(base_url=url, api_key="sk-ant-test", max_retries=0, http_client=http) as client:
        return ANTHROPIC[name](client)


def _call_openai(name: str, url: str, heads: list[Mapping[str, str]]) -> Any:
    http = DefaultHttpxClient(event_hooks={"response": [lambda r: heads.append(r.headers)]})
    with OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0, http_client=http) as client:
        return OPENAI[name](client)


async def _call_async(name: str, url: str, heads: list[Mapping[str, str]]) -> Any:
    async def keep(response: Any) -> None:
        heads.append(response.headers)

    http = DefaultAsyncHttpxClient(event_hooks={"response": [keep]})
    if name in ASYNC_ANTHROPIC:
        async with AsyncAnthropic(
            base_url=url, api_key="sk-ant-test", max_retries=0, http_client=http
        ) as claude:
            return await ASYNC_ANTHROPIC[name](claude)
    async with AsyncOpenAI(
        base_url=f"{url}/v1", api_key="sk-test", max_retries=0, http_client=http
    ) as gpt:
        return await ASYNC_OPENAI[name](gpt)
