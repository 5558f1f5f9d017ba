"""One answer over two requests: a server that is lost in mid-answer is asked for the rest. Pure.

Only text can be gone on with. An answer that holds calls or reasoning, or that a schema binds, is
lost with its server: see `asking`.
"""

from __future__ import annotations

import msgspec

from fallback.core.errors import EngineError
from fallback.core.ports import EngineEvent, GenerateRequest, GenerationFinished, Piece

_MOST_LOSSES = 1


class Rest:
    """Folds what is said into what is left to ask for."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._text: list[str] = []
        self._only_text = request.conversation.output_format is None
        self._spent_tokens = 0
        self._losses = 0

    def __repr__(self) -> str:
        return f"<Rest {self._request.id} losses={self._losses} pieces={len(self._text)}>"

    @property
    def begun(self) -> bool:
        """Whether this is no longer the first request."""
        return self._losses > 0

    def request(self) -> GenerateRequest:
        """What to ask for now."""
        if not self._text:
            return self._request
        asked = self._request
        sampling = asked.conversation.sampling
        if sampling.max_tokens is not None:
            left = max(1, sampling.max_tokens - self._spent_tokens)
            sampling = msgspec.structs.replace(sampling, max_tokens=left)
        return msgspec.structs.replace(
            asked,
            conversation=msgspec.structs.replace(asked.conversation, sampling=sampling),
            max_tokens=max(1, asked.max_tokens - self._spent_tokens),
            prefix=asked.prefix + "".join(self._text),
        )

    def take(self, event: EngineEvent) -> EngineEvent:
        """Note what is said; the end counts the tokens of all requests. Of a lost one they are
        its pieces, since servers send one piece a token."""
        if isinstance(event, Piece):
            self._text.append(event.text)
        elif not isinstance(event, GenerationFinished):
            self._only_text = False
        elif self._spent_tokens:
            tokens = event.output_tokens + self._spent_tokens
            return msgspec.structs.replace(event, output_tokens=tokens)
        return event

    def lose(self, error: EngineError) -> None:
        """The server is lost. Raises `error` where nobody can go on."""
        self._losses += 1
        self._spent_tokens = len(self._text)
        if self._losses > _MOST_LOSSES or not self._only_text:
            raise error
