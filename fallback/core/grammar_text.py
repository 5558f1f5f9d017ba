"""A grammar as llguidance takes it: one text in Lark, or several that refer to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fallback.core.ports import Grammar, GrammarPart

_NONE: Mapping[str, str] = {}


def engine_text(grammar: Grammar, instead: Mapping[str, str] = _NONE) -> str:
    """The whole grammar; `instead` holds other right sides for some of its rules."""
    rules = [grammar.lark]
    others: list[dict[str, str]] = []
    for part in grammar.parts:
        if part.rule in instead:
            rules.append(f"{part.rule}: {instead[part.rule]}")
        elif part.lark is None:
            rules.append(f"{part.rule}: {part.body}")
        else:
            rules.append(f"{part.rule}: @{part.rule}")
            others.append({"name": part.rule, "lark_grammar": part.lark})
    lark = "\n".join([*rules, ""])
    return json.dumps({"grammars": [{"lark_grammar": lark}, *others]}) if others else lark


def part_text(part: GrammarPart) -> str:
    """One part as a grammar of its own."""
    return part.lark if part.lark is not None else f"start: {part.body}"
