"""One answer over the lives of several workers: what the client has, what is left to ask. Pure.

A request that ends a worker each time it is computed has to be given up, or nobody would be
answered any more. But a worker dies of much else, and who waited meanwhile or was getting on has
nothing to do with it: only a death counts in which the request was computed and hardly a token came
of it.
"""

from __future__ import annotations

import msgspec

from fallback.core.errors import EngineError
from fallback.core.ports import (
    EngineEvent,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.local import wire

MAX_RESUMES = 2
_GETTING_ON_TOKENS = 4
# Whatever the cause, it ends somewhere.
MOST_LOSSES = 20


class Resume:
    """Folds what workers say about one request into the events its consumer sees."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._text: list[str] = []
        self._input_tokens: int | None = None
        self._cached_tokens = 0
        self._spent_tokens = 0
        self._worker_tokens = 0
        self._losses = 0
        self._blamed = 0
        self._computed = False

    def __repr__(self) -> str:
        return f"<Resume {self._request.id} losses={self._losses} tokens={self._output_tokens}>"

    @property
    def _output_tokens(self) -> int:
        return self._spent_tokens + self._worker_tokens

    def request(self) -> GenerateRequest:
        """What to ask the next worker: to go on after the text already given."""
        if self._losses == 0:
            return self._request
        conversation = self._request.conversation
        sampling = conversation.sampling
        if sampling.max_tokens is not None:
            left = sampling.max_tokens - self._spent_tokens
            sampling = msgspec.structs.replace(sampling, max_tokens=left)
        return msgspec.structs.replace(
            self._request,
            conversation=msgspec.structs.replace(conversation, sampling=sampling),
            prefix=self._request.prefix + "".join(self._text),
            max_tokens=self._request.max_tokens - self._spent_tokens,
        )

    def take(self, reply: wire.Started | wire.Piece | wire.Finished) -> EngineEvent | None:
        """The event this reply is to the consumer; a second start is none."""
        if isinstance(reply, wire.Started):
            self._computed = True
            return self._start(reply)
        self._worker_tokens = reply.output_tokens
        if isinstance(reply, wire.Piece):
            self._text.append(reply.text)
            return Piece(reply.text)
        return GenerationFinished(
            reason=reply.reason,
            input_tokens=reply.input_tokens if self._input_tokens is None else self._input_tokens,
            output_tokens=self._output_tokens,
            cached_tokens=self._cached_tokens,
            stop_sequence=reply.stop_sequence,
            prefill_s=reply.prefill_s,
            decode_s=reply.decode_s,
        )

    def lose(self, reason: str) -> GenerationFinished | None:
        """The worker is gone. The end of the answer, if nothing is left to ask for.

        Raises `EngineError` when it has happened too often.
        """
        self._losses += 1
        self._blamed += self._computed and self._worker_tokens < _GETTING_ON_TOKENS
        self._spent_tokens += self._worker_tokens
        self._worker_tokens = 0
        self._computed = False
        if self._blamed > MAX_RESUMES or self._losses > MOST_LOSSES:
            raise EngineError(
                f"the local engine failed {self._losses} times at this request: {reason}"
            )
        if self._spent_tokens < self._limit():
            return None
        return GenerationFinished(
            reason="max_tokens",
            input_tokens=self._input_tokens or 0,
            output_tokens=self._spent_tokens,
            cached_tokens=self._cached_tokens,
        )

    def _start(self, reply: wire.Started) -> GenerationStarted | None:
        if self._input_tokens is not None:
            return None
        self._input_tokens = reply.input_tokens
        self._cached_tokens = reply.cached_tokens
        return GenerationStarted(
            input_tokens=reply.input_tokens,
            cuts=reply.cuts,
            loosened=reply.loosened,
            cached_tokens=reply.cached_tokens,
        )

    def _limit(self) -> int:
        client = self._request.conversation.sampling.max_tokens
        return min(client or self._request.max_tokens, self._request.max_tokens)
