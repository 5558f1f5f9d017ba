"""Answers by a JSON Schema and tool calls: tokens a second, and whether they are valid.

Each form is asked as a response format and as a tool that has to be called, one after the other,
greedily. All was asked once before, so that prompts are in the caches of both. Validity is judged
by the `jsonschema` package.

llama-server writes calls only where the chat template has a format for them, and ours has none. It
is given the template of a model that speaks the same markup and has one (Qwen 2.5). Its grammar
lets any text stand before a call (chat-auto-parser-generator.cpp), also where a call is required: a
small model may never come to it. Then its tokens are counted all the same, and its answer is not
valid.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types

from engine_peer.build import source
from engine_peer.cases.base import Bench, Case
from engine_peer.chat import question
from engine_peer.contenders import Contender, LlamaServer, OursSame
from engine_peer.figures import whole_rate
from engine_peer.race import Racer, Values
from engine_peer.reading import Answer
from engine_peer.report import Measure
from engine_peer.schemas import FORMS, Form, Schema

_TEMPLATE = "Qwen-Qwen2.5-7B-Instruct.jinja"
_SLOTS, _SLOT_TOKENS, _ANSWER_TOKENS = 2, 2048, 400
_SIDES = {"same": "same settings", "own": "as it comes"}
_WAYS = {"schema": "by a JSON Schema", "tool": "tool calls"}


async def _run(bench: Bench) -> None:
    task = bench.task(_SLOTS, _SLOT_TOKENS)
    template = ("--chat-template-file", str(source() / "models" / "templates" / _TEMPLATE))
    sides: dict[str, tuple[Contender, ...]] = {
        "same": (
            OursSame(task, {"drafts": False}),
            LlamaServer(task, same=True, options=("--cache-ram", "8192", *template)),
        ),
        "own": (bench.as_it_comes(task), LlamaServer(task, options=template)),
    }
    for kind, contenders in sides.items():
        bench.say(f"  {_SIDES[kind]}")
        forms = FORMS if bench.scale == 1 else FORMS[:1]
        await bench.race(contenders, partial(_measure, forms, kind), partial(_warm, forms))


async def _warm(forms: Sequence[Form], racer: Racer) -> None:
    await _measure(forms, "", racer, 0)


async def _measure(forms: Sequence[Form], kind: str, racer: Racer, number: int) -> Values:
    values: Values = {}
    for way in _WAYS:
        answers = [await racer.chat.ask(_body(form, way)) for form in forms]
        valid = [
            is_valid(said(answer, form, way), form.schema)
            for answer, form in zip(answers, forms, strict=True)
        ]
        values |= {
            f"{way}_{kind}": whole_rate(answers),
            f"{way}_{kind}_s": sum(each.whole_s for each in answers) / len(answers),
            f"{way}_{kind}_valid": 100 * sum(valid) / len(valid),
        }
    return values


def _body(form: Form, way: str) -> dict[str, Any]:
    body = question(form.question, max_tokens=_ANSWER_TOKENS)
    if way == "schema":
        named = {"name": form.name, "schema": form.schema, "strict": True}
        return body | {"response_format": {"type": "json_schema", "json_schema": named}}
    function = {"name": form.name, "parameters": form.schema, "strict": True}
    tools = [{"type": "function", "function": function}]
    return body | {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}


def said(answer: Answer, form: Form, way: str) -> str:
    """The JSON that has to be valid; of a wrong or second call nothing."""
    if way == "schema":
        return answer.text
    named = [call.arguments for call in answer.calls if call.name == form.name]
    return named[0] if len(named) == len(answer.calls) == 1 else ""


def is_valid(text: str, schema: Schema) -> bool:
    """Whether an independent validator accepts it."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True


def _measures(way: str, kind: str) -> tuple[Measure, ...]:
    title = f"{_WAYS[way]}, {_SIDES[kind]}"
    return (
        Measure(key=f"{way}_{kind}", title=f"tokens/s {title}", at_least=1.5),
        Measure(key=f"{way}_{kind}_s", title=f"one answer, s, {title}", digits=2, better="less"),
        Measure(
            key=f"{way}_{kind}_valid",
            title=f"valid, %, {title}",
            digits=0,
            better=None,
            from_=100,
        ),
    )


CASE = Case(
    name="structured",
    title=f"{len(FORMS)} forms, filled in one after the other",
    measures=tuple(measure for kind in _SIDES for way in _WAYS for measure in _measures(way, kind)),
    run=_run,
)
