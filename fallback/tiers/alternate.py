"""The alternate tier: the same request to another upstream, under its own name for the model.

Where it speaks the client's dialect the body goes there byte for byte but for that name; where
not, request and answer are translated. Rules of this file:
- An alternate gets credentials of its own, and of the client's headers only those that belong to
  the protocol: no key, no account, no cookie, no session.
- What it says reaches the client only if it is an answer: see `alternate_attempt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from fallback.core import provenance as told
from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers, Provenance
from fallback.core.routing import Route
from fallback.dialects.base import Dialect
from fallback.dialects.peek import peek
from fallback.dialects.rename import model_in, rename_model
from fallback.tiers.alternate_attempt import SameDialect, Translated
from fallback.tiers.translation import Translation, translation
from fallback.upstream.attempt import Attempt, Clock, Request
from fallback.upstream.headers import for_upstream
from fallback.upstream.transport import Transport, UpstreamConfig

_CHAT = {"anthropic": "anthropic", "openai": "openai-chat"}
_OF_THE_PROTOCOL = frozenset(
    {b"accept", b"anthropic-beta", b"anthropic-version", b"content-type", b"openai-beta"}
    | {b"user-agent"}
)
_JSON = (b"content-type", b"application/json")
_PLAIN = (b"accept-encoding", b"identity")
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")


class Alternate(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream that stands in for others. `dialect` None is the client's where the family
    speaks it, else that of the family's chat. `models`: glob over the client's name -> its name,
    the first that matches."""

    upstream: UpstreamConfig
    dialect: str | None = None
    models: Mapping[str, str] = {}

    def speaks(self, dialect: str) -> str:
        """The dialect in which to ask for what was asked in `dialect`."""
        if self.dialect is not None:
            return self.dialect
        own = dialect.startswith(self.upstream.family)
        return dialect if own else _CHAT[self.upstream.family]

    def model(self, asked: str) -> str:
        """Its name for the model that the client asked for."""
        lowered = asked.lower()
        fits = (name for glob, name in self.models.items() if fnmatchcase(lowered, glob.lower()))
        return next(fits, asked)


class AlternateTier:
    """Prepares attempts at alternates; knows nothing of health or other tiers."""

    def __init__(
        self,
        transport: Transport,
        alternates: Mapping[str, Alternate],
        dialects: Mapping[str, Dialect],
        *,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._alternates = alternates
        self._dialects = dialects
        self._clock = clock

    def prepare(
        self,
        name: str,
        route: Route,
        query: bytes,
        headers: Headers,
        body: bytes,
        deadlines: Deadlines,
        provenance: Provenance,
    ) -> Attempt:
        """One try at the alternate `name`, to be run. `body` has no content coding. Raises
        `BadRequest` for one that cannot be translated."""
        alternate = self._alternates[name]
        asked = model_in(body)
        model = alternate.model(asked)
        client = self._dialects[route.dialect]
        server = self._dialects[alternate.speaks(route.dialect)]
        if server is client:
            renamed = body if model == asked else rename_model(body, model)
            target = f"{route.path}?{query.decode('latin-1')}" if query else route.path
            return self._same(alternate, client, target, headers, renamed, deadlines)
        translated = translation(
            client,
            server,
            body,
            model=model,
            token=provenance.receipt.rpartition("_")[2],
            created_s=int(self._clock()),
            provenance=told.body(provenance),
        )
        return self._translated(alternate, server, headers, translated, deadlines)

    def _same(
        self,
        alternate: Alternate,
        dialect: Dialect,
        target: str,
        headers: Headers,
        body: bytes,
        deadlines: Deadlines,
    ) -> Attempt:
        sent, streams = _own(alternate, headers), peek(body).stream
        request = _request(target, sent, body, dialect, streams)
        return SameDialect(
            self._transport, alternate.upstream, request, deadlines, clock=self._clock
        )

    def _translated(
        self,
        alternate: Alternate,
        server: Dialect,
        headers: Headers,
        translated: Translation,
        deadlines: Deadlines,
    ) -> Attempt:
        sent = _foreign(alternate, headers, server)
        request = _request(server.path, sent, translated.body, server, translated.streams)
        return Translated(
            self._transport, alternate.upstream, request, deadlines, translated, clock=self._clock
        )


def _own(alternate: Alternate, headers: Headers) -> Headers:
    """The client's headers, as far as they belong to the protocol, with the alternate's key."""
    upstream = alternate.upstream
    # The client's own key, which is another provider's, is not among them.
    kept = [pair for pair in headers if pair[0] in _OF_THE_PROTOCOL]
    return [*for_upstream(kept, family=upstream.family, api_key=upstream.api_key), _PLAIN]


def _foreign(alternate: Alternate, headers: Headers, server: Dialect) -> Headers:
    """Those of a request in the other protocol; the client keeps its name."""
    named = [pair for pair in headers if pair[0] == b"user-agent"]
    versioned = [_JSON, _ANTHROPIC_VERSION] if server.name == "anthropic" else [_JSON]
    return _own(alternate, [*named, *versioned])


def _request(
    target: str, headers: Headers, body: bytes, dialect: Dialect, streams: bool
) -> Request:
    return Request(
        method="POST",
        target=target,
        headers=headers,
        body=body,
        dialect=dialect,
        generates=True,
        streams=streams,
    )
