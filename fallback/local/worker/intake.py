"""The intake thread: a request as the parent sent it -> a request as the model takes it."""

from __future__ import annotations

import traceback
from typing import Literal

from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest, EngineBusy, EngineError, FallbackError
from fallback.core.fit import Fitted, fit
from fallback.core.ports import GenerateRequest
from fallback.local import wire
from fallback.local.worker.channel import Channel
from fallback.local.worker.constraint import Constraint
from fallback.local.worker.desk import Desk, Errand
from fallback.local.worker.llama.model import Model
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.sampling import settings_for
from fallback.local.worker.template import ChatTemplate


class Intake:
    """Renders, fits and tokenizes for one model and a context of `context_tokens` a request."""

    def __init__(self, model: Model, context_tokens: int) -> None:
        self._model = model
        self._template = ChatTemplate(
            model.chat_template, bos=model.bos, eos=model.eos, control=model.control_texts
        )
        model.markup = self._template.format.markup
        self._context_tokens = context_tokens

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
        sampling = request.conversation.sampling
        prefix = self._model.tokenize_answer(request.prefix)
        wanted = max(1, min(sampling.max_tokens or request.max_tokens, request.max_tokens))
        fitted = self._fit(request, wanted, self._context_tokens - len(prefix))
        beginning = self._template.begin(fitted.conversation, request.prefix)
        prompt = self._model.tokenize_prompt(beginning.prompt)
        limit = min(wanted, self._context_tokens - len(prompt) - len(prefix))
        if limit < 1:
            raise EngineError(
                f"the prompt takes {len(prompt)} tokens and the answer so far {len(prefix)}:"
                f" none of the model's {self._context_tokens} are left"
            )
        constraint = self._constrain(request, beginning.opened)
        # What the template has begun of the answer is told like the rest of it.
        opened = self._model.tokenize_answer(beginning.opened)[:limit]
        forced = (*opened, *(constraint.take_forced(limit - len(opened)) if constraint else ()))
        return Prepared(
            id=id,
            tokens=(*prompt, *prefix, *forced),
            forced=forced,
            input_tokens=len(prompt),
            max_output_tokens=limit,
            priority=request.priority,
            cuts=fitted.cuts,
            stops=sampling.stop,
            prefix=request.prefix,
            sampler=settings_for(sampling),
            constraint=constraint,
            ease_limit_tokens=_ease_limit(request, limit),
            outcome=_outcome(constraint, forced, limit),
        )

    def _serve(self, errand: Errand, desk: Desk, channel: Channel) -> None:
        try:
            if isinstance(errand, wire.Count):
                tokens = self.count(errand.conversation)
                channel.send(wire.Counted(id=errand.id, tokens=tokens))
                desk.forget(errand.id)
            elif isinstance(errand, wire.Warm):
                raise EngineError("nothing is kept warm yet")
            else:
                desk.arrivals.put(self.prepare(errand.id, errand.request))
        except Exception as error:  # noqa: BLE001 - one bad request must not end the worker
            channel.send(error_reply(errand.id, error))
            desk.forget(errand.id)

    def _fit(self, request: GenerateRequest, wanted: int, room: int) -> Fitted:
        # The answer keeps a part of the context, however much the prompt would take.
        reserve = min(wanted, max(1, room // 4))
        budget = request.prompt_room(room - reserve)
        return fit(request.conversation, budget, self.count)

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
    return wire.Error(id=id, kind=_kind(error), message=error.message)


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
