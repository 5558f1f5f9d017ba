"""What becomes of a conversation that is too long: by our rule, cut from the front, at the peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from engine_peer.chat import Chat, Refused
from engine_peer.reading import BadStream

from fallback.core.conversation import Conversation
from fallback.core.errors import FallbackError
from fallback.core.ports import GenerateRequest, GenerationFinished, Piece
from fallback.dialects import openai_chat_request
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings
from fallback.local.worker.counting import TokenCounter, fit_exactly
from fallback.local.worker.llama.model import Model
from fallback.local.worker.template import ChatTemplate

ANSWER_TOKENS = 12
_READY_S = 120.0


class Answer(NamedTuple):
    """What came back: the text of a whole answer, or why there is none."""

    text: str
    failure: str = ""


class Prompts:
    """The prompts that are made of a conversation for one model."""

    def __init__(self, model: Path) -> None:
        self._model = Model(model, sha256="")
        self._template = ChatTemplate(
            self._model.chat_template,
            bos=self._model.bos,
            eos=self._model.eos,
            control=self._model.control_texts,
        )
        self.count = TokenCounter(
            lambda conversation: len(self._tokens(conversation)),
            lambda text: len(self._model.tokenize_text(text)),
        )

    def __repr__(self) -> str:
        return f"<Prompts {self._model!r}>"

    def fitted(self, conversation: Conversation, budget: int) -> tuple[str, int]:
        """What our rule leaves of it, rendered; and its tokens."""
        fitted, tokens = fit_exactly(conversation, budget, self.count, self._tokens)
        return self._template.render(fitted.conversation), len(tokens)

    def cut_from_the_front(self, conversation: Conversation, budget: int) -> str:
        """The last tokens of the whole prompt, as many as fit."""
        tokens = self._tokens(conversation)[-budget:]
        return self._model.text_bytes(tokens).decode(errors="replace")

    def _tokens(self, conversation: Conversation) -> list[int]:
        return self._model.tokenize_prompt(self._template.render(conversation))


class Ours(NamedTuple):
    """A real worker process, one request at a time."""

    engine: LocalEngine

    async def ask(self, conversation: Conversation, name: str) -> Answer:
        """A short answer, at temperature 0."""
        request = GenerateRequest(id=name, conversation=conversation, max_tokens=ANSWER_TOKENS)
        text, finished = "", False
        try:
            async with aclosing(self.engine.generate(request)) as events:
                async for event in events:
                    text += event.text if isinstance(event, Piece) else ""
                    finished = finished or isinstance(event, GenerationFinished)
        except FallbackError as error:
            return Answer("", error.message)
        return Answer(text) if finished and text else Answer("", "the answer is empty or not whole")


@asynccontextmanager
async def ours(model: Path, context: int) -> AsyncIterator[Ours]:
    """Our engine with so much context for a request."""
    settings = WorkerSettings(
        model_path=str(model), model_name=model.stem, context_tokens=context, slots=1
    )
    engine = LocalEngine(settings, environment={})
    engine.start()
    try:
        await engine.ready(_READY_S)
        yield Ours(engine)
    finally:
        await engine.stop()


class Peer(NamedTuple):
    """A running llama-server, asked in its own protocol."""

    chat: Chat

    async def ask(self, conversation: Conversation) -> Answer:
        """As `Ours.ask`."""
        body = openai_chat_request.request(conversation)
        limits = {"max_tokens": ANSWER_TOKENS, "temperature": 0}
        try:
            answer = await self.chat.ask({**body, **limits})
        except (Refused, BadStream, aiohttp.ClientError, TimeoutError) as error:
            return Answer("", str(error) or type(error).__name__)
        return Answer(answer.text)
