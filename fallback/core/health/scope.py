"""What a piece of evidence is about: my network, my key, a provider, or one of its models."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

ScopeKind: TypeAlias = Literal["network", "credential", "upstream", "model"]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the model family, or six hex digits of a credential's SHA-256: never the key."""

    kind: ScopeKind
    upstream: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "network":
            return "network"
        if self.kind == "upstream":
            return self.upstream
        return f"{self.upstream}{'#' if self.kind == 'credential' else '/'}{self.name}"


NETWORK = Scope(kind="network")


def upstream_scope(upstream: str) -> Scope:
    return Scope(kind="upstream", upstream=upstream)


def model_scope(upstream: str, family: str) -> Scope:
    return Scope(kind="model", upstream=upstream, name=family)


def credential_scope(upstream: str, digest: str) -> Scope:
    return Scope(kind="credential", upstream=upstream, name=digest)
