"""What an OpenAI-compatible server says of itself. Pure; nothing here raises but `chosen`.

Sources: llama.cpp tools/server/server-context.cpp (`get_res_model_info`; before 2026 its context
is told by `/props` alone), vLLM entrypoints/openai (`ModelCard.max_model_len`), Ollama
docs/openai.md (`owned_by` is "library"; the context is 4096 unless set, and a longer prompt
loses its beginning without a word).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from fallback.core.ports import ModelIdentity
from fallback.dialects.jsonvalues import integer, mapping, objects, optional_string, string

Make: TypeAlias = Literal["llama-server", "vllm", "ollama", "fallback", "unknown"]

UNKNOWN_CONTEXT_TOKENS = 4096
_MAKES: Mapping[str, Make] = {
    "llamacpp": "llama-server",
    "vllm": "vllm",
    "library": "ollama",
    "fallback": "fallback",
}


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers. `context_tokens` and `quantization` are None where it does not
    say."""

    make: Make
    model: str
    context_tokens: int | None = None
    quantization: str | None = None

    @property
    def says_more(self) -> bool:
        """Whether `/props` tells the context that the list of models leaves out."""
        return self.make == "llama-server" and self.context_tokens is None

    @property
    def continues(self) -> bool:
        """Whether this make goes on after a beginning of the answer."""
        return self.make != "unknown"

    def identity(self, context_tokens: int | None) -> ModelIdentity:
        """The model, as precisely as a stranger's can be known."""
        return ModelIdentity(
            name=self.model,
            sha256=None,
            quantization=self.quantization or "unknown",
            context_tokens=context_tokens or self.context_tokens or UNKNOWN_CONTEXT_TOKENS,
            engine=f"remote {self.make}",
        )


def chosen(models: Any, wanted: str) -> Server:
    """The server, from its list of models. Raises `ValueError` if the model is not on it."""
    listed = [entry for entry in objects(mapping(models).get("data")) if string(entry.get("id"))]
    found = next((entry for entry in listed if wanted in ("", entry["id"])), None)
    if found is None:
        names = ", ".join(entry["id"] for entry in listed[:10]) or "none"
        raise ValueError(f"it has no model {wanted!r}; it lists: {names}")
    meta = mapping(found.get("meta"))
    return Server(
        make=_MAKES.get(string(found.get("owned_by")), "unknown"),
        model=found["id"],
        context_tokens=integer(found.get("max_model_len")) or integer(meta.get("n_ctx")),
        quantization=optional_string(meta.get("ftype")),
    )


def with_props(server: Server, props: Any) -> Server:
    """The server with the context that llama-server's `/props` tells, which is one slot's."""
    found = integer(mapping(mapping(props).get("default_generation_settings")).get("n_ctx"))
    return msgspec.structs.replace(server, context_tokens=found) if found else server
