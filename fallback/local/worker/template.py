"""A conversation as the prompt text of one model, by the chat template in its file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple

from jinja2 import Template

from fallback.core.conversation import Conversation, ToolCall
from fallback.core.tool_formats import GENERAL, ToolFormat, detect, format_for
from fallback.core.tool_formats.plain import any_of
from fallback.core.tool_formats.reading import THINK_CLOSE, THINK_OPEN
from fallback.core.tool_syntax import callable_tools, must_call_tools
from fallback.local.worker import trial
from fallback.local.worker.disarm import disarmed
from fallback.local.worker.messages import Messages, to_messages
from fallback.local.worker.native_messages import Shape, to_native
from fallback.local.worker.sandbox import TemplateSandbox

CHATML = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{{ '<|im_start|>assistant\\n' }}"
)

_Message = dict[str, Any]
# The plainest first: a template gets only those changes that it cannot do without.
_SHAPES = tuple(
    Shape(single=single, apart=apart, strict=strict)
    for strict, apart, single in sorted(itertools.product((False, True), repeat=3), key=sum)
)


class Beginning(NamedTuple):
    """A prompt, and what of the answer the template has begun itself: reasoning that is open."""

    prompt: str
    opened: str


class _Form(NamedTuple):
    """A compiled template, and how it takes the system text."""

    template: Template
    place: Callable[[str, list[_Message]], list[_Message]]


class ChatTemplate:
    """Renders conversations with a template that knows at least the roles and text content.

    `template` is Jinja source from a model file and not trusted. `bos` and `eos` are the
    texts of the model's tokens of these names, empty where it has none. The template is tried
    once when it is set up: one that loses the system text gets it in the first user message;
    one that fails or loses the user's text is replaced by ChatML, and `note` says why. One that
    proves that it shows tools, calls and results in a `format` we know is given them; else they
    are text. `now` serves templates that tell the model the date. `control` are the texts of the
    tokens that steer the model: in what a client sends they are broken up, so that nobody's text
    can end a turn or begin one of another role.
    """

    def __init__(
        self,
        template: str,
        *,
        bos: str,
        eos: str,
        control: Collection[str] = (),
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._control = any_of(control)
        self.note: str | None = None
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        self._sandbox = TemplateSandbox(now)
        self._chatml = _Form(self._sandbox.prepare(CHATML), in_own_message)
        self._form = self._usable_form(template)
        self._native_form, self.shape = self._form, Shape()
        self.format: ToolFormat = self._proven_format(template)

    def __repr__(self) -> str:
        place = self._form.place.__name__
        return f"ChatTemplate({self.format.name}, system={place!r}, note={self.note!r})"

    def render(self, conversation: Conversation) -> str:
        """The whole prompt, up to where the answer begins, or goes on from the client's own
        beginning.

        Special tokens are written out in it, the one at the beginning too where the template
        has it: to be tokenized with special tokens parsed and none added.
        """
        return "".join(self.begin(conversation))

    def begin(
        self, conversation: Conversation, prefix: str = "", form: ToolFormat | None = None
    ) -> Beginning:
        """The prompt of an answer that goes on behind `prefix`. `form` is the format that the
        answer will be read in, where that was decided before the conversation was fitted.

        Reasoning that the template opens is the model's own, and told apart. It is closed where
        an answer has begun without it, and where the answer's form is bound from its first
        character on.
        """
        with self._lock:
            form = form or format_for(self.format.name, conversation)
            prompt, prefill = self._rendered(disarmed(conversation, self._control), form)
        prompt, opened = _split_reasoning(prompt)
        if prefix.lstrip().startswith(THINK_OPEN) and not prefill:
            return Beginning(prompt, "")
        if opened and (prefix or prefill or _is_bound(conversation)):
            prompt, opened = f"{prompt}{THINK_OPEN}\n\n{THINK_CLOSE}\n\n", ""
        return Beginning(prompt + prefill, opened)

    def _rendered(self, conversation: Conversation, form: ToolFormat) -> tuple[str, str]:
        """The prompt up to the answer, and the client's beginning of that."""
        if form.native and _has_tools(conversation):
            try:
                return self._run_native(form, conversation)
            except Exception as error:  # noqa: BLE001 - foreign code can raise anything
                self.note = f"the model's chat template failed with tools ({error}); they are text"
        messages = to_messages(conversation, form)
        return self._run_plain(messages, reason=not _is_bound(conversation)), messages.prefill

    def _run_plain(self, messages: Messages, *, reason: bool) -> str:
        try:
            return self._run(self._form, messages, reason=reason)
        except Exception as error:  # noqa: BLE001 - foreign code can raise anything
            self.note = f"the model's chat template failed ({error}); ChatML is used"
        return self._run(self._chatml, messages, reason=reason)

    def _run(self, form: _Form, messages: Messages, *, reason: bool = True) -> str:
        turns = [{"role": role, "content": text} for role, text in messages.turns]
        return self._render(form, form.place(messages.system, turns), reason=reason)

    def _run_native(self, form: ToolFormat, conversation: Conversation) -> tuple[str, str]:
        native = to_native(conversation, form, self.shape)
        placed = self._native_form.place(native.system, list(native.messages))
        tools = list(native.tools) or None
        reason = not _is_bound(conversation)
        return self._render(self._native_form, placed, reason=reason, tools=tools), native.prefill

    def _render(self, form: _Form, messages: list[_Message], *, reason: bool, **more: Any) -> str:
        variables = {"messages": messages, "add_generation_prompt": True, **more}
        if not reason:
            variables["enable_thinking"] = False
        return self._sandbox.run(form.template, variables | self._tokens)

    def _usable_form(self, source: str) -> _Form:
        problem = ""
        for place in (in_own_message, in_user_message):
            try:
                form = _Form(self._sandbox.prepare(source), place)
                if trial.shows_text(lambda messages, form=form: self._run(form, messages)):  # type: ignore[misc]
                    return form
                problem = "it leaves out messages"
            except Exception as error:  # noqa: BLE001 - foreign code can raise anything
                problem = str(error)
        self.note = f"the model's chat template is not usable ({problem}); ChatML is used"
        return self._chatml

    def _proven_format(self, source: str) -> ToolFormat:
        form = GENERAL if self._form is self._chatml else detect(source)
        if not form.native:
            return form
        problem = "it leaves out messages, or writes calls otherwise"
        # Some show the system text only before a user's word, and not before a result.
        places = dict.fromkeys((self._form.place, in_user_message))
        for place, self.shape in itertools.product(places, _SHAPES):
            self._native_form = self._form._replace(place=place)
            try:
                if trial.shows_tools(form, lambda talk: self._run_native(form, talk)[0]):
                    return form
            except Exception as error:  # noqa: BLE001 - foreign code can raise anything
                problem = str(error)
        self.note = f"the model's chat template is not used for tools ({problem}); they are text"
        return GENERAL


def _has_tools(conversation: Conversation) -> bool:
    """Whether there is anything that a template would show in a way of its own."""
    calls = any(isinstance(part, ToolCall) for turn in conversation.turns for part in turn.parts)
    return calls or bool(callable_tools(conversation))


def _is_bound(conversation: Conversation) -> bool:
    """Whether a grammar binds the answer from its first character on."""
    is_output = conversation.output_format is not None and not callable_tools(conversation)
    return is_output or must_call_tools(conversation)


def _split_reasoning(prompt: str) -> tuple[str, str]:
    """The prompt up to the reasoning that it opens, and that opening."""
    before = prompt.rstrip().removesuffix(THINK_OPEN)
    if len(before) == len(prompt.rstrip()):
        return prompt, ""
    return before, prompt[len(before) :]


def in_own_message(system: str, turns: list[_Message]) -> list[_Message]:
    """The system text as a message of its own, the first."""
    return [{"role": "system", "content": system}, *turns] if system else turns


def in_user_message(system: str, turns: list[_Message]) -> list[_Message]:
    """The system text at the head of the first user message, for templates without the role."""
    first, *rest = turns
    joined = "\n\n".join(filter(None, (system, first["content"])))
    return [{**first, "content": joined}, *rest]
