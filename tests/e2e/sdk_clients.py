"""Clients of the official SDKs for one test, without retries."""

from __future__ import annotations

import anthropic
import closing
import openai


def claude(url: str) -> anthropic.Anthropic:
    """A client of the service at `url`."""
    client = anthropic.Anthropic(base_url=url, api_key="sk-ant-test", max_retries=0)
    return closing.later(client)


def gpt(url: str) -> openai.OpenAI:
    """A client of the service at `url`."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0)
    return closing.later(client)
