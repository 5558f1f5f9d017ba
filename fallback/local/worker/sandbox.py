"""Jinja for chat templates: code from a model file, which may be malicious or wrong.

What the sandbox of Jinja leaves open is closed here: loops and macros draw on one budget, so
that none is endless, and repetition and powers cannot fill the memory in one step. What strings
can still waste ends with the worker process, never with the proxy.

The names and filters are those that Hugging Face gives its templates.
Source: https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 1_000_000  # items of loops; about 0.1 s
STEPS_A_CALL = 50  # a macro's call takes that much longer than a loop's item
MAX_OUTPUT_CHARS = 64 * 1024 * 1024
MAX_REPEATED = 100_000  # characters or items
MAX_NUMBER_BITS = 4096


class _Generation(Extension):
    """`{% generation %}` marks the model's own words for training; here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Compiles and runs one untrusted template at a time. Not for several threads at once."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda form: now().strftime(form)
        self._steps = 0

    def prepare(self, source: str) -> Template:
        """Compile `source`, with a charge on each loop and each call of a macro.

        Raises `TemplateError`, or `RecursionError` for source that nests too deep.
        """
        tree = self.parse(source)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise SecurityError("recursive loops are not supported")
            loop.iter = _call("charge_items", loop.iter)
        macros: list[nodes.Macro | nodes.CallBlock] = [*tree.find_all(nodes.Macro)]
        macros += tree.find_all(nodes.CallBlock)
        for macro in macros:
            macro.body.insert(0, nodes.ExprStmt(_call("charge")))
        tree.set_environment(self)
        return self.from_string(tree)

    def run(self, template: Template, variables: dict[str, Any]) -> str:
        """The text that the template makes. Raises whatever foreign code can raise."""
        self._steps = 0
        pieces: list[str] = []
        size = 0
        for piece in template.generate(variables):
            size += len(piece)
            if size > MAX_OUTPUT_CHARS:
                raise SecurityError("the template's output is too long")
            pieces.append(piece)
        return "".join(pieces)

    def charge(self, steps: int = STEPS_A_CALL) -> None:
        """Take steps from the budget of this run. Raises `SecurityError` when it is used up."""
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise SecurityError("the template takes too many steps")

    def charge_items(self, items: Iterable[Any]) -> list[Any]:
        """What a loop goes over, paid for before it begins."""
        found = list(items)
        self.charge(1 + len(found))
        return found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply and raise, but nothing to a size that takes long or fills the memory."""
        if isinstance(left, int) and isinstance(right, int):
            factor = abs(right) if operator == "**" else 1
            if left.bit_length() * factor + right.bit_length() > MAX_NUMBER_BITS:
                raise SecurityError("the number is too large")
        for repeated, times in ((left, right), (right, left)):
            if isinstance(repeated, str | list | tuple) and len(repeated) * times > MAX_REPEATED:
                raise SecurityError("the repetition is too long")
        return super().call_binop(context, operator, left, right)


def _call(method: str, *arguments: nodes.Node) -> nodes.Call:
    # An attribute of the environment, unlike a variable, cannot be replaced by the template.
    return nodes.Call(nodes.EnvironmentAttribute(method), list(arguments), [], None, None)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
