"""The decode loop: three calls a step, and the answers they grow.

plan = scheduler.schedule(); sampled = llama.run(plan); events = scheduler.update(plan, sampled)
"""

from __future__ import annotations

from collections.abc import Callable

from fallback.core.answer import StopReason
from fallback.core.errors import EngineBusy
from fallback.local import wire
from fallback.local.worker.channel import Channel
from fallback.local.worker.desk import Arrival, Desk
from fallback.local.worker.intake import error_reply
from fallback.local.worker.llama.context import Llama
from fallback.local.worker.llama.model import Model
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.scheduler import Event, Grew, Plan, Scheduler
from fallback.local.worker.transcript import Transcript
from fallback.local.worker.warming import Warming


class _Answer:
    """One answer in the making. Times in seconds of the decoder's clock."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.transcript = Transcript(prepared.stops, prepared.prefix)
        self.output_tokens = 0
        self.began_at: float | None = None
        self.first_token_at: float | None = None


class Decoder:
    """Owns the context, the scheduler and the answers; runs on one thread. `clock` in seconds."""

    def __init__(
        self,
        desk: Desk,
        channel: Channel,
        model: Model,
        llama: Llama,
        scheduler: Scheduler,
        warming: Warming,
        clock: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._channel = channel
        self._model = model
        self._llama = llama
        self._scheduler = scheduler
        self._warming = warming
        self._clock = clock
        self._answers: dict[int, _Answer] = {}

    def run(self) -> None:
        """Serve for ever."""
        while True:
            self._take_arrivals()
            plan = self._scheduler.schedule()
            if plan.chunks:
                self._step(plan)
            self._desk.worked(self._scheduler.active)

    def _step(self, plan: Plan) -> None:
        now = self._clock()
        for chunk in plan.chunks:
            answer = self._answers[chunk.id]
            answer.began_at = now if answer.began_at is None else answer.began_at
        for event in self._scheduler.update(plan, self._llama.run(plan)):
            self._tell(event)

    def _take_arrivals(self) -> None:
        """All that has come; waits only when there is nothing else to do."""
        if not self._answers:
            self._take(self._desk.arrivals.get())
        while not self._desk.arrivals.empty():
            self._take(self._desk.arrivals.get())

    def _take(self, arrival: Arrival) -> None:
        if isinstance(arrival, wire.Cancel):
            self._drop(arrival.id)
        elif isinstance(arrival, wire.Pace):
            self._warming.pace(arrival.cpu)
        elif self._desk.wants(arrival.id):
            self._begin(arrival)

    def _begin(self, prepared: Prepared) -> None:
        try:
            self._scheduler.add(prepared.job)
        except EngineBusy as busy:
            self._channel.send(error_reply(prepared.id, busy))
            self._desk.forget(prepared.id)
            return
        self._llama.open(prepared)
        self._answers[prepared.id] = _Answer(prepared)
        self._channel.send(
            wire.Started(id=prepared.id, input_tokens=prepared.input_tokens, cuts=prepared.cuts)
        )
        self._grow(Grew(id=prepared.id, tokens=prepared.forced))
        if prepared.outcome is not None and prepared.id in self._answers:
            self._finish(prepared.id, prepared.outcome)

    def _tell(self, event: Event) -> None:
        # An answer that a stop sequence has ended may still have an event behind it.
        if event.id not in self._answers:
            return
        if isinstance(event, Grew):
            self._grow(event)
        elif event.reason == "failed":
            self._channel.send(wire.Error(id=event.id, kind="failed", message=event.failure or ""))
            self._drop(event.id)
        else:
            self._finish(event.id, event.reason)

    def _grow(self, grew: Grew) -> None:
        answer = self._answers[grew.id]
        answer.output_tokens += len(grew.tokens)
        if answer.first_token_at is None and answer.began_at is not None:
            answer.first_token_at = self._clock()
        text, stop = answer.transcript.feed(self._model.text_bytes(grew.tokens))
        self._send_text(grew.id, answer, text)
        if stop is not None:
            self._finish(grew.id, "stop_sequence", stop)

    def _finish(self, id: int, reason: StopReason, stop: str | None = None) -> None:
        answer = self._answers[id]
        if stop is None:
            self._send_text(id, answer, answer.transcript.flush())
        now = self._clock()
        began_at = now if answer.began_at is None else answer.began_at
        first_at = began_at if answer.first_token_at is None else answer.first_token_at
        self._drop(id)
        self._channel.send(
            wire.Finished(
                id=id,
                reason=reason,
                input_tokens=answer.prepared.input_tokens,
                output_tokens=answer.output_tokens,
                stop_sequence=stop,
                prefill_s=first_at - began_at,
                decode_s=now - first_at,
            )
        )

    def _send_text(self, id: int, answer: _Answer, text: str) -> None:
        if text:
            self._channel.send(wire.Piece(id=id, text=text, output_tokens=answer.output_tokens))

    def _drop(self, id: int) -> None:
        """Free all that an answer holds, if there is one."""
        self._scheduler.cancel(id)
        self._desk.forget(id)
        if self._answers.pop(id, None) is not None:
            self._llama.close(id)
