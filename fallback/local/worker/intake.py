"""The intake thread: a request as the parent sent it -> a request as the model takes it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from fallback.core.answer import Cut
from fallback.core.budget import budget_ladder, choose_budget
from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest, EngineBusy, EngineError, FallbackError
from fallback.core.ports import GenerateRequest
from fallback.core.tool_formats import ToolFormat, format_for
from fallback.local import wire
from fallback.local.worker.beginning import beginning
from fallback.local.worker.channel import Channel
from fallback.local.worker.constraint import Constraint
from fallback.local.worker.counting import TokenCounter, fit_exactly
from fallback.local.worker.desk import Desk, Errand
from fallback.local.worker.llama.model import Model
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.sampling import settings_for
from fallback.local.worker.speed import Speed
from fallback.local.worker.template import Beginning, ChatTemplate


class _Prompt(NamedTuple):
    """A prompt that fits, how many of its tokens need not be computed, and what was cut."""

    conversation: Conversation
    tokens: Sequence[int]
    cached: int
    cuts: tuple[Cut, ...]


class Intake:
    """Renders, fits and tokenizes for one model and a context of `context_tokens` a request.

    `cached` tells how many of the first tokens are computed already; `clock` is the decoder's.
    """

    def __init__(
        self,
        model: Model,
        context_tokens: int,
        *,
        cached: Callable[[Sequence[int]], int],
        speed: Speed,
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._template = ChatTemplate(
            model.chat_template, bos=model.bos, eos=model.eos, control=model.control_texts
        )
        self._counter = TokenCounter(self.count, lambda text: len(model.tokenize_text(text)))
        model.markup = self._template.format.markup
        self._context_tokens = context_tokens
        self._cached = cached
        self._speed = speed
        self._clock = clock

    @property
    def tool_format(self) -> str:
        """The name of the format in which this model is told of tools and calls them."""
        return self._template.format.name

    def run(self, desk: Desk, channel: Channel) -> None:
        """Serve for ever."""
        while True:
            errand = desk.errand()
            if desk.wants(errand.id):
                self._serve(errand, desk, channel)
            desk.worked()

    def count(self, conversation: Conversation) -> int:
        """Tokens of the whole conversation as this model's template renders it."""
        return len(self._model.tokenize_prompt(self._template.render(conversation)))

    def prepare(self, id: int, request: GenerateRequest) -> Prepared:
        """Fit and tokenize. Raises `BadRequest` for an unusable grammar, `EngineError` where
        no room is left for an answer."""
        now = self._clock()
        sampling = request.conversation.sampling
        prefix = self._model.tokenize_answer(request.prefix)
        wanted = _wanted(request)
        prompt = self._fit(request, self._context_tokens - len(prefix))
        limit = min(wanted, self._context_tokens - len(prompt.tokens) - len(prefix))
        if limit < 1:
            raise EngineError(
                f"the prompt takes {len(prompt.tokens)} tokens and the answer so far {len(prefix)}:"
                f" none of the model's {self._context_tokens} are left"
            )
        opened = self._begin(prompt.conversation, request).opened
        constraint = self._constrain(request, opened)
        # What the template has begun of the answer is told like the rest of it.
        begun = self._model.tokenize_answer(opened)[:limit]
        forced = (*begun, *(constraint.take_forced(limit - len(begun)) if constraint else ()))
        late_s = request.late_after_s
        return Prepared(
            id=id,
            tokens=(*prompt.tokens, *prefix, *forced),
            forced=forced,
            input_tokens=len(prompt.tokens),
            cached_tokens=prompt.cached,
            max_output_tokens=limit,
            priority=request.priority,
            client=request.client,
            start_by_s=None if late_s is None else now + late_s,
            cuts=prompt.cuts,
            stops=sampling.stop,
            prefix=request.prefix,
            thought=self._format(request).thought,
            sampler=settings_for(sampling),
            constraint=constraint,
            ease_limit_tokens=_ease_limit(request, limit),
            outcome=_outcome(constraint, forced, limit),
        )

    def prepare_warm(self, warm: wire.Warm) -> Prepared:
        """The prompt that this request would have, to be computed when nobody waits. Raises
        `FallbackError` where no model of this size would answer it."""
        request = beginning(warm)
        prompt = self._fit(request, self._context_tokens)
        return Prepared(
            id=warm.id,
            tokens=tuple(prompt.tokens),
            forced=(),
            input_tokens=len(prompt.tokens),
            cached_tokens=prompt.cached,
            max_output_tokens=0,
            cuts=prompt.cuts,
            stops=(),
            prefix="",
            sampler=settings_for(request.conversation.sampling),
            standby=True,
        )

    def _serve(self, errand: Errand, desk: Desk, channel: Channel) -> None:
        try:
            if isinstance(errand, wire.Count):
                tokens = self.count(errand.conversation)
                channel.send(wire.Counted(id=errand.id, tokens=tokens))
                desk.forget(errand.id)
            elif isinstance(errand, wire.Warm):
                desk.arrivals.put(self.prepare_warm(errand))
            else:
                desk.arrivals.put(self.prepare(errand.id, errand.request))
        except Exception as error:  # noqa: BLE001 - one bad request must not end the worker
            channel.send(error_reply(errand.id, error))
            desk.forget(errand.id)

    def _fit(self, request: GenerateRequest, room: int) -> _Prompt:
        """The largest prompt that can be read in time, of what the context has room for."""
        # The answer keeps a part of the context, however much the prompt would take.
        reserve = min(_wanted(request), max(1, room // 4))

        def tokenize(conversation: Conversation) -> list[int]:
            return self._model.tokenize_prompt(self._begin(conversation, request).prompt)

        def fit(budget: int) -> _Prompt:
            fitted, tokens = fit_exactly(request.conversation, budget, self._counter, tokenize)
            return _Prompt(fitted.conversation, tokens, self._cached(tokens), fitted.cuts)

        return choose_budget(
            budget_ladder(request.prompt_room(room - reserve)),
            request.first_token_s,
            fit=fit,
            cached_tokens=lambda prompt: prompt.cached,
            prefill_s=self._speed.prefill_s,
        )

    def _begin(self, fitted: Conversation, request: GenerateRequest) -> Beginning:
        return self._template.begin(fitted, request.prefix, self._format(request))

    def _format(self, request: GenerateRequest) -> ToolFormat:
        """How the answer will be read, whatever fitting takes away."""
        return format_for(self.tool_format, request.conversation)

    def _constrain(self, request: GenerateRequest, opened: str) -> Constraint | None:
        if request.grammar is None:
            return None
        constraint = self._model.constrain(request.grammar)
        counted = opened + request.prefix[request.grammar_start :]
        constraint.accept_prefix(self._model.tokenize_answer(counted))
        return constraint


def error_reply(id: int, error: Exception) -> wire.Error:
    """The reply that says whose fault it is; a surprise is also written to the log."""
    if not isinstance(error, FallbackError):
        traceback.print_exception(error)
        return wire.Error(id=id, kind="failed", message=f"the local model failed: {error!r}")
    return wire.Error(
        id=id, kind=_kind(error), message=error.message, retry_after_s=error.retry_after_s
    )


def _wanted(request: GenerateRequest) -> int:
    client = request.conversation.sampling.max_tokens
    return max(1, min(client or request.max_tokens, request.max_tokens))


def _kind(error: FallbackError) -> wire.ErrorKind:
    if isinstance(error, BadRequest):
        return "bad_request"
    return "busy" if isinstance(error, EngineBusy) else "failed"


def _ease_limit(request: GenerateRequest, limit: int) -> int | None:
    """The limit to ease the model towards: only one that the client did not set itself."""
    client = request.conversation.sampling.max_tokens
    return limit if client is None or limit < client else None


def _outcome(
    constraint: Constraint | None, forced: tuple[int, ...], limit: int
) -> Literal["end", "max_tokens"] | None:
    if constraint is not None and constraint.finished:
        return "end"
    return "max_tokens" if len(forced) >= limit else None
