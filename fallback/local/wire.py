"""What parent and worker say to each other, and how it is framed. Pure: bytes in, values out.

Rules of this file:
- A frame is four bytes of length, big-endian, then one message as JSON. JSON, because a tool's
  schema is the client's JSON and may hold integers that MessagePack cannot (over 64 bits).
- A frame is at most `MAX_FRAME_BYTES`, both ways; a longer one is refused before it is read.
- The parent speaks first, with `Start`, and once; the worker answers `Ready` or `Failed`.
- For each `Generate`: `Started`, any number of `Piece`, `Finished`; or `Error`, at any point,
  which ends it. After a `Cancel` the parent listens no more: nothing need be said.
- For each `Count`: `Counted` or `Error`. For each `Ping`: `Pong`.
- For each `Warm`: `Warmed` or `Error`; a `Cancel` ends it like a `Generate`. `Pace` says how much
  of the machine that may take, from now on; nothing is answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

from fallback.core.answer import Cut, StopReason
from fallback.core.conversation import Conversation
from fallback.core.ports import GenerateRequest, ModelIdentity
from fallback.local.settings import WorkerSettings

MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH_BYTES = 4

ErrorKind: TypeAlias = Literal["bad_request", "busy", "failed"]
FailureKind: TypeAlias = Literal["model_file", "engine"]


class ProtocolError(Exception):
    """The other side does not speak this protocol; nothing it says can be trusted now."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Load this model."""

    settings: WorkerSettings


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Answer this; `id` is the parent's, unique in the worker's life."""

    id: int
    request: GenerateRequest


class Warm(msgspec.Struct, frozen=True, kw_only=True, tag="warm"):
    """Have the beginning of what this request would need ready, when nobody else wants anything.

    `body` is the client's request in `dialect`, as it passed to the cloud: nobody has parsed it.
    The clamps are those of a `GenerateRequest`: with others it would be fitted otherwise.
    """

    id: int
    dialect: str
    body: bytes
    max_tokens: int
    prompt_budget_tokens: int | None = None


class Pace(msgspec.Struct, frozen=True, tag="pace"):
    """`cpu`: the share of this machine's processors that warming may take, 0 (none) to 1."""

    cpu: float


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody wants the answer `id` any more."""

    id: int


class Count(msgspec.Struct, frozen=True, tag="count"):
    """How many tokens has the whole conversation?"""

    id: int
    conversation: Conversation


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Are you there?"""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded; it took `load_s` seconds from the worker's start. `tuning` says in
    words how it is run; `calibrate`, that it was never measured here and may be."""

    model: ModelIdentity
    load_s: float
    tool_format: str = "general"
    tuning: str = ""
    calibrate: bool = False


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The model cannot be loaded; the worker ends. `message` says what to do."""

    kind: FailureKind
    message: str


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The request was accepted and fitted."""

    id: int
    input_tokens: int
    cuts: tuple[Cut, ...] = ()
    loosened: tuple[str, ...] = ()
    cached_tokens: int = 0


class Piece(msgspec.Struct, frozen=True, kw_only=True, tag="piece"):
    """More text. `output_tokens` counts all tokens up to here, held back ones included."""

    id: int
    text: str
    output_tokens: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of the answer. Times in seconds."""

    id: int
    reason: StopReason
    input_tokens: int
    output_tokens: int
    stop_sequence: str | None = None
    cached_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Error(msgspec.Struct, frozen=True, kw_only=True, tag="error"):
    """The request `id` cannot be answered; `kind` says whose fault it is. `retry_after_s` is
    when an engine that is `busy` expects to be free again."""

    id: int
    kind: ErrorKind
    message: str
    retry_after_s: int | None = None


class Warmed(msgspec.Struct, frozen=True, kw_only=True, tag="warmed"):
    """The beginning of the request `id` is ready: of its `input_tokens`, `cached_tokens` were
    already, and `prefilled_tokens` were computed now. All of it takes `kv_bytes`."""

    id: int
    input_tokens: int
    cached_tokens: int
    prefilled_tokens: int
    kv_bytes: int = 0


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag="counted"):
    """The answer to `Count`."""

    id: int
    tokens: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """Alive. `progress` grows with every step: it stands still only in a hung or idle worker."""

    progress: int
    active: int
    queued: int
    expected_wait_s: float = 0.0
    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0
    cache_bytes: int = 0


ToWorker: TypeAlias = Start | Generate | Warm | Pace | Cancel | Count | Ping
GenerateReply: TypeAlias = Started | Piece | Finished | Error
Reply: TypeAlias = GenerateReply | Counted | Warmed
ToParent: TypeAlias = Ready | Failed | Started | Piece | Finished | Error | Counted | Warmed | Pong

M = TypeVar("M", ToWorker, ToParent)


def encode(message: ToWorker | ToParent) -> bytes:
    """One frame. Raises `ValueError` for what cannot be sent: too long, or broken Unicode."""
    body = msgspec.json.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is over the {MAX_FRAME_BYTES} allowed")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameDecoder(Generic[M]):
    """Bytes as they come -> whole messages. Holds at most one unfinished frame."""

    def __init__(self, decoder: msgspec.json.Decoder[M]) -> None:
        self._decoder: msgspec.json.Decoder[M] = decoder
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<FrameDecoder buffered={len(self._buffer)}>"

    def feed(self, data: bytes) -> Iterator[M]:
        """The messages that `data` completes. Raises `ProtocolError` for anything else."""
        self._buffer += data
        while (body := self._take_frame()) is not None:
            try:
                yield self._decoder.decode(body)
            except msgspec.DecodeError as error:
                raise ProtocolError(f"not a message: {error}") from None

    def _take_frame(self) -> bytes | None:
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if end - _LENGTH_BYTES > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {end - _LENGTH_BYTES} bytes is over the limit")
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        return body


def worker_decoder() -> FrameDecoder[ToWorker]:
    """What the worker hears."""
    return FrameDecoder(msgspec.json.Decoder(ToWorker))


def parent_decoder() -> FrameDecoder[ToParent]:
    """What the parent hears."""
    return FrameDecoder(msgspec.json.Decoder(ToParent))
