"""The decode loop: who runs is settled, a step is computed, and the answers grow.

moves = scheduler.admit(now); plan = scheduler.schedule()
sampled = llama.run(plan); events = scheduler.update(plan, sampled, now, took_s)
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable

from fallback.core.answer import StopReason
from fallback.core.errors import EngineBusy
from fallback.local import wire
from fallback.local.worker.channel import Channel
from fallback.local.worker.cpu import used
from fallback.local.worker.crowd import Crowd
from fallback.local.worker.desk import Arrival, Desk, Gauges, Leave
from fallback.local.worker.intake import error_reply
from fallback.local.worker.keeper import Keeper
from fallback.local.worker.llama.context import Llama
from fallback.local.worker.llama.model import Model
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.scheduler import Scheduler
from fallback.local.worker.speed import Speed
from fallback.local.worker.steps import Admit, Ended, Event, Grew, Plan, Preempt
from fallback.local.worker.transcript import Transcript
from fallback.local.worker.warming import Warming

_FORETELL_S = 1.0
_TELL_S = 0.1


class _Answer:
    """One answer in the making. Times in seconds of the decoder's clock."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.transcript = Transcript(prepared.stops, prepared.prefix, prepared.thought)
        self.output_tokens = 0
        self.cached_tokens = 0
        self.started = False
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
        speed: Speed,
        warming: Warming,
        keeper: Keeper,
        crowd: Crowd,
        clock: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._channel = channel
        self._model = model
        self._llama = llama
        self._scheduler = scheduler
        self._speed = speed
        self._warming = warming
        self._keeper = keeper
        self._crowd = crowd
        self._clock = clock
        self._answers: dict[int, _Answer] = {}
        self._outbox: list[wire.ToParent] = []
        self._foretold_at = -math.inf
        self._foretold_s = 0.0
        self._told_at = -math.inf
        self._active_told = 0

    def run(self) -> None:
        """Serve for ever."""
        self._desk.serving = True
        while True:
            self._take_arrivals()
            self._move()
            self._post()
            self._compute()
            self._post()
            self._desk.worked(self._gauges())

    # -- what is computed ------------------------------------------------------------------------

    def _move(self) -> None:
        """Give and take slots, and split the memory anew where that is needed."""
        now = self._clock()
        moves = self._scheduler.admit(now)
        if not moves:
            return
        for move in moves:
            if isinstance(move, Preempt):
                self._llama.detach(move.id, now)
        slots = self._scheduler.split(self._llama.slots)
        if slots != self._llama.slots:
            for id, computed in self._llama.reshape(slots, now).items():
                self._scheduler.attached(id, computed)
        for move in moves:
            if isinstance(move, Admit):
                computed = self._llama.attach(move.id, now)
                self._scheduler.attached(move.id, computed)
                self._start(self._answers[move.id], computed)

    def _compute(self) -> None:
        """One step, if there is one to be computed now."""
        plan = self._scheduler.schedule(standby_tokens=self._warming.tokens)
        if plan.standby:
            self._warm(plan)
        elif plan.chunks:
            self._step(plan)

    def _warm(self, plan: Plan) -> None:
        """A short step that nobody waits for, with as few threads as it may have."""
        if not self._warming.may_run(self._clock()):
            return
        took_s = self._step(plan, threads=self._warming.threads)
        self._warming.worked(self._clock(), took_s, plan.tokens)

    def _step(self, plan: Plan, threads: int | None = None) -> float:
        """Compute it, with at most so many threads, and tell what came of it; how long it took,
        in seconds."""
        began = self._clock()
        if self._crowd.is_due(began):
            self._crowd.rest(began, used())
        free = self._crowd.threads
        self._llama.use_threads(free if threads is None else min(free, threads))
        for chunk in plan.chunks:
            answer = self._answers[chunk.id]
            answer.began_at = began if answer.began_at is None else answer.began_at
        sampled = self._llama.run(plan)
        now = self._clock()
        if self._crowd.is_due(now):
            self._crowd.look(now, used())
        self._keeper.worked()
        for event in self._scheduler.update(plan, sampled, now, now - began):
            self._tell(event)
        return now - began

    # -- what has come ---------------------------------------------------------------------------

    def _take_arrivals(self) -> None:
        """All that has come; waits where there is nothing to do before."""
        arrivals, wait_s = self._desk.arrivals, self._wait_s()
        if wait_s > 0:
            try:
                self._take(arrivals.get(timeout=None if wait_s == math.inf else wait_s))
            except queue.Empty:
                return
        while not arrivals.empty():
            self._take(arrivals.get())

    def _wait_s(self) -> float:
        if not self._answers:
            return self._keeper.tidy()
        if any(not answer.prepared.standby for answer in self._answers.values()):
            return 0.0
        return self._warming.wait_s(self._clock())

    def _take(self, arrival: Arrival) -> None:
        if isinstance(arrival, wire.Cancel):
            self._drop(arrival.id)
        elif isinstance(arrival, wire.Pace):
            self._warming.pace(arrival.cpu)
        elif isinstance(arrival, Leave):
            self._keeper.flush(arrival.until)
            arrival.left.set()
        elif self._desk.wants(arrival.id):
            self._begin(arrival)

    def _begin(self, prepared: Prepared) -> None:
        try:
            self._scheduler.add(prepared.job, self._clock())
        except EngineBusy as busy:
            self._outbox.append(error_reply(prepared.id, busy))
            self._desk.forget(prepared.id)
            return
        self._llama.open(prepared)
        self._answers[prepared.id] = _Answer(prepared)
        if prepared.outcome is not None:
            self._start(self._answers[prepared.id], 0)
            if prepared.id in self._answers:
                self._finish(prepared.id, prepared.outcome)

    def _start(self, answer: _Answer, computed: int) -> None:
        """It has a slot, where so many of its tokens lie: from now on it cannot be refused. One
        that was preempted has been told before."""
        prepared = answer.prepared
        if answer.started:
            return
        answer.started = True
        answer.cached_tokens = min(computed, prepared.input_tokens)
        if prepared.standby:
            return
        self._outbox.append(
            wire.Started(
                id=prepared.id,
                input_tokens=prepared.input_tokens,
                cuts=prepared.cuts,
                loosened=prepared.loosened,
                cached_tokens=answer.cached_tokens,
            )
        )
        self._grow(Grew(id=prepared.id, tokens=prepared.forced))

    # -- what is told ----------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        # An answer that a stop sequence has ended may still have an event behind it.
        if event.id not in self._answers:
            return
        if isinstance(event, Grew):
            self._grow(event)
        else:
            self._end(event)

    def _end(self, ended: Ended) -> None:
        if ended.reason == "warmed":
            self._tell_warmed(self._answers[ended.id])
            self._drop(ended.id)
        elif ended.reason == "end" or ended.reason == "max_tokens":
            self._finish(ended.id, ended.reason)
        else:
            self._outbox.append(
                wire.Error(
                    id=ended.id,
                    kind="busy" if ended.reason == "late" else "failed",
                    message=ended.failure or "",
                    retry_after_s=ended.retry_after_s,
                )
            )
            self._drop(ended.id)

    def _tell_warmed(self, answer: _Answer) -> None:
        tokens = answer.prepared.input_tokens
        self._outbox.append(
            wire.Warmed(
                id=answer.prepared.id,
                input_tokens=tokens,
                cached_tokens=answer.cached_tokens,
                prefilled_tokens=tokens - answer.cached_tokens,
                kv_bytes=self._llama.state_bytes(answer.prepared.id),
            )
        )

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
        self._outbox.append(
            wire.Finished(
                id=id,
                reason=reason,
                input_tokens=answer.prepared.input_tokens,
                output_tokens=answer.output_tokens,
                stop_sequence=stop,
                cached_tokens=answer.cached_tokens,
                prefill_s=first_at - began_at,
                decode_s=now - first_at,
            )
        )

    def _send_text(self, id: int, answer: _Answer, text: str) -> None:
        if text:
            self._outbox.append(wire.Piece(id=id, text=text, output_tokens=answer.output_tokens))

    def _drop(self, id: int) -> None:
        """Free all that an answer holds, if there is one."""
        self._scheduler.cancel(id)
        self._desk.forget(id)
        if self._answers.pop(id, None) is not None:
            self._llama.close(id, self._clock())

    def _post(self) -> None:
        """Send what is to be told, in one write: each wakes the parent, which wants a core."""
        if self._outbox:
            self._channel.send(*self._outbox)
            self._outbox.clear()

    def _expected_wait_s(self, now: float) -> float:
        """As of the last second: it takes half a millisecond where many wait."""
        if now >= self._foretold_at + _FORETELL_S:
            self._foretold_at = now
            self._foretold_s = self._scheduler.expected_wait_s(now)
        return self._foretold_s

    def _gauges(self) -> Gauges | None:
        """Anew where they have changed much, or it was long ago: they are asked for every second,
        and a step may take milliseconds."""
        now, active = self._clock(), self._scheduler.serving
        if active == self._active_told and now < self._told_at + _TELL_S:
            return None
        self._active_told, self._told_at = active, now
        return Gauges(
            active=active,
            expected_wait_s=self._expected_wait_s(now),
            prefill_tokens_per_s=self._speed.prefill_tokens_per_s,
            decode_tokens_per_s=self._speed.decode_tokens_per_s,
            cache_bytes=self._keeper.cache_bytes,
        )
