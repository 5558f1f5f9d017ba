"""What the remote engine is told: which server, which model, how patiently."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Prefill: TypeAlias = Literal["auto", "yes", "no"]


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds. `model` empty is the first that the server lists. `context_tokens` None
    asks the server. `prefill`: whether it goes on after the beginning of an answer.

    `answer_s` bounds the wait for an answer's head and for its first words (servers that send
    the head at once read the prompt in between), `stall_s` a silence inside it;
    `look_s` is how often a server that is well is looked at, `retry_s` one that is not.
    """

    url: str
    model: str = ""
    api_key: str | None = None
    context_tokens: int | None = None
    prefill: Prefill = "auto"
    ready_timeout_s: float = 20.0
    answer_s: float = 300.0
    stall_s: float = 120.0
    look_s: float = 30.0
    retry_s: float = 2.0
