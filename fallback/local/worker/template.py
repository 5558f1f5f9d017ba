"""A conversation as the prompt text of one model, by the chat template in its file."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from datetime import datetime
from typing import NamedTuple

from jinja2 import Template

from fallback.core.conversation import Conversation
from fallback.core.tool_syntax import THINK_CLOSE, THINK_OPEN
from fallback.local.worker.messages import Messages, to_messages
from fallback.local.worker.sandbox import TemplateSandbox

CHATML = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{{ '<|im_start|>assistant\\n' }}"
)

_Message = dict[str, str]


_ZERO_WIDTH = "\u200b"


def _any_of(texts: Collection[str]) -> re.Pattern[str]:
    # The longest first; without any, a pattern that never matches.
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


class _Form(NamedTuple):
    """A compiled template, and how it takes the system text."""

    template: Template
    place: Callable[[Messages], list[_Message]]


class ChatTemplate:
    """Renders conversations with a template that knows only the roles and text content.

    `template` is Jinja source from a model file and not trusted. `bos` and `eos` are the
    texts of the model's tokens of these names, empty where it has none. The template is tried
    once when it is set up: one that loses the system text gets it in the first user message;
    one that fails or loses the user's text is replaced by ChatML, and `note` says why. `now`
    serves templates that tell the model the date. `control` are the texts of the tokens that
    steer the model: in what a client sends they are broken up, so that nobody's text can end a
    turn or begin one of another role.
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
        self._control = _any_of(control)
        self.note: str | None = None
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        self._sandbox = TemplateSandbox(now)
        self._chatml = _Form(self._sandbox.prepare(CHATML), in_own_message)
        self._form = self._usable_form(template)

    def __repr__(self) -> str:
        return f"ChatTemplate(system={self._form.place.__name__!r}, note={self.note!r})"

    def render(self, conversation: Conversation, *, begun: bool = False) -> str:
        """The whole prompt, up to where the answer begins, or goes on if it has `begun`.

        Special tokens are written out in it, the one at the beginning too where the template
        has it: to be tokenized with special tokens parsed and none added.
        """
        messages = self._disarmed(to_messages(conversation))
        with self._lock:
            prompt = self._render(messages)
        if begun or messages.prefill:
            prompt = _past_reasoning(prompt)
        return prompt + messages.prefill

    def _disarmed(self, messages: Messages) -> Messages:
        return Messages(
            self._plain(messages.system),
            tuple((role, self._plain(text)) for role, text in messages.turns),
            self._plain(messages.prefill),
        )

    def _plain(self, text: str) -> str:
        return self._control.sub(lambda found: found[0][0] + _ZERO_WIDTH + found[0][1:], text)

    def _render(self, messages: Messages) -> str:
        try:
            return self._run(self._form, messages)
        except Exception as error:  # noqa: BLE001 - foreign code can raise anything
            self.note = f"the model's chat template failed ({error}); ChatML is used"
        return self._run(self._chatml, messages)

    def _run(self, form: _Form, messages: Messages) -> str:
        variables = {"messages": form.place(messages), "add_generation_prompt": True}
        return self._sandbox.run(form.template, variables | self._tokens)

    def _usable_form(self, source: str) -> _Form:
        problem = ""
        for place in (in_own_message, in_user_message):
            try:
                form = _Form(self._sandbox.prepare(source), place)
                if all(marker in self._run(form, _TRIAL) for marker in _TRIAL_MARKERS):
                    return form
                problem = "it leaves out messages"
            except Exception as error:  # noqa: BLE001 - foreign code can raise anything
                problem = str(error)
        self.note = f"the model's chat template is not usable ({problem}); ChatML is used"
        return self._chatml


def _past_reasoning(prompt: str) -> str:
    """Templates of reasoning models may open the reasoning themselves; no answer goes on in it."""
    before = prompt.rstrip()
    if not before.endswith(THINK_OPEN):
        return prompt
    return f"{before}\n\n{THINK_CLOSE}\n\n"


def in_own_message(messages: Messages) -> list[_Message]:
    """The system text as a message of its own, the first."""
    turns = [{"role": role, "content": text} for role, text in messages.turns]
    if not messages.system:
        return turns
    return [{"role": "system", "content": messages.system}, *turns]


def in_user_message(messages: Messages) -> list[_Message]:
    """The system text at the head of the first user message, for templates without the role."""
    (role, text), *rest = messages.turns
    joined = "\n\n".join(filter(None, (messages.system, text)))
    return in_own_message(Messages("", ((role, joined), *rest)))


_TRIAL = Messages("system-text", (("user", "one"), ("assistant", "two"), ("user", "three-text")))
_TRIAL_MARKERS = ("system-text", "three-text")
