"""Tokens that mean something in an answer, on a real vocabulary.

The embedded model has no tool format of its own; two of its control tokens stand in for one's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fallback.core.answer import PartialAnswer
from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolChoice
from fallback.core.grammar import grammar_for
from fallback.core.tool_formats.hermes import Hermes
from fallback.local.worker.llama.model import Model

OPEN, CLOSE = "<repo_name>", "<file_sep>"
RUN = Tool(name="run", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
CALL = ToolCall(id="", name="run", arguments='{"a":1}')


class Marked(Hermes):
    """The Hermes format with control tokens for marks."""

    mark = OPEN
    between = f"\n{OPEN}\n"
    close = CLOSE
    markup = frozenset({OPEN, CLOSE})


FORM = Marked()


@pytest.fixture(scope="module")
def model(model_path: Path) -> Model:
    found = Model(model_path, sha256="0" * 64)
    found.markup = FORM.markup
    return found


def talk(**choice: Any) -> Conversation:
    return Conversation(model="m", tools=(RUN,), tool_choice=ToolChoice(**choice))


def test_markup_is_rendered_and_nothing_else(model: Model) -> None:
    """Of the control tokens, those of the format have a text."""
    tokens = model.tokenize_answer(f"{OPEN}a{CLOSE}")
    assert len(tokens) == 3
    assert model.text_bytes(tokens) == f"{OPEN}a{CLOSE}".encode()
    assert model.text_bytes(model.tokenize_prompt("<|im_start|>")) == b""


def test_markup_in_plain_text_is_plain(model: Model) -> None:
    """Only what the model itself wrote is read as markup."""
    tokens = model.tokenize_text(OPEN)
    assert len(tokens) > 1
    assert model.text_bytes(tokens) == OPEN.encode()
    other = model.tokenize_answer("<|im_start|>")
    assert len(other) > 1


def test_a_forced_call_begins_with_the_token(model: Model) -> None:
    """The grammar forces the mark as one token, not spelled out."""
    grammar = grammar_for(talk(mode="required"), FORM)
    assert grammar is not None
    forced = model.constrain(grammar).take_forced(99)
    assert forced[0] == model.tokenize_answer(OPEN)[0]
    assert model.text_bytes(forced).startswith(f'{OPEN}\n{{"name": "run", "arg'.encode())


def test_a_call_in_text_is_admitted_in_tokens(model: Model) -> None:
    """After text the mark may come as a token, and then only a call; the answer may be gone on
    with from its text."""
    grammar = grammar_for(talk(), FORM)
    assert grammar is not None
    answer = f"I look.\n{FORM.call_text(CALL, 'object')}"
    tokens = model.tokenize_answer(answer)
    constraint = model.constrain(grammar)
    assert constraint.admitted(tokens) == len(tokens)
    constraint.accept_prefix(tokens)
    assert constraint.may_end
    steering = model.tokenize_prompt("<|im_start|>")[0]
    assert not model.constrain(grammar).admits(steering)


def test_what_another_model_said_has_no_markup(model: Model) -> None:
    """The beginning of an answer that was another's holds the marks as broken text."""
    said = FORM.partial_text(PartialAnswer((Text(f"a{OPEN}b"),)), talk())[0]
    assert model.tokenize_answer(OPEN)[0] not in model.tokenize_answer(said)
