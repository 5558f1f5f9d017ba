"""Official SDK clients that are closed when their test ends (see `conftest.py`).

A client that is only dropped closes its sockets whenever the collector comes by, and the
warning about it fails whichever test is running then.
"""

from __future__ import annotations

from contextlib import ExitStack

import anthropic
import openai

_open = ExitStack()


def claude(url: str) -> anthropic.Anthropic:
    """A client of the service at `url`, without retries."""
    return _open.enter_context(
        anthropic.Anthropic(base_url=url, api_key="sk-ant-test", max_retries=0)
    )


def gpt(url: str) -> openai.OpenAI:
    """A client of the service at `url`, without retries."""
    return _open.enter_context(
        openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0)
    )


def close() -> None:
    """Close all that were made."""
    _open.close()
