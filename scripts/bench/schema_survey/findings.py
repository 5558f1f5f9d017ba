"""What is found about one schema, without a model."""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import dataclass, field

import llguidance

from fallback.core.errors import BadRequest
from fallback.core.json_schema import narrowed
from fallback.local.worker.compiled import CompiledGrammar
from schema_survey.corpus import Entry
from schema_survey.walks import Judge, Walker, admits, json_grammar

_WALK_TOKENS = 2000
_NAMES = re.compile(r"""["'`/].*|\d+.*|(?<=supported:).*""", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Finding:
    """`kept`: what is written is valid by construction. `loosened`: but for some keywords, told
    to the client. `refused`: the engine does not compile it; only its outline is held to."""

    name: str
    group: str
    outcome: str
    reasons: tuple[str, ...] = ()
    narrow_s: float = 0.0
    compile_s: float = 0.0
    start_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1


class Surveyor:
    """Looks at one schema after the other over one vocabulary; `walks` texts of each."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, *, walks: int, seed: int) -> None:
        self._tokenizer = tokenizer
        self._walker = Walker(tokenizer)
        self._walks = walks
        self._seed = seed

    def look(self, entry: Entry) -> Finding:
        """All that there is to know about it."""
        finding = Finding(name=entry.name, group=entry.group, outcome="kept")
        began = time.perf_counter()
        found = narrowed(entry.schema)
        finding.narrow_s = time.perf_counter() - began
        began = time.perf_counter()
        try:
            compiled = CompiledGrammar(self._tokenizer, json_grammar(found.schema))
        except BadRequest as refusal:
            finding.outcome, finding.reasons = "refused", (_kind(refusal.message),)
            return finding
        finally:
            finding.compile_s = time.perf_counter() - began
        began = time.perf_counter()
        compiled.matcher()
        finding.start_s = time.perf_counter() - began
        if found.loosened:
            finding.outcome = "loosened"
            finding.reasons = tuple(sorted({each.keyword for each in found.loosened}))
            return finding
        self._compare(entry, compiled, finding)
        self._walk(entry, compiled, finding)
        return finding

    def _compare(self, entry: Entry, compiled: CompiledGrammar, finding: Finding) -> None:
        """With what others say of the instances that came with the schema."""
        for instance in entry.instances:
            admitted = admits(self._tokenizer, compiled.matcher(), instance.value)
            said = "valid" if instance.valid else "invalid"
            finding.count(f"{said} instances {'admitted' if admitted else 'refused'}")
            if admitted and not instance.valid:
                finding.complaints.append(f"admitted: {json.dumps(instance.value)[:200]}")

    def _walk(self, entry: Entry, compiled: CompiledGrammar, finding: Finding) -> None:
        judge = Judge(entry.schema)
        for number in range(self._walks):
            rng = random.Random(f"{self._seed} {entry.name} {number}")
            text = self._walker.walk(compiled.matcher(), rng, _WALK_TOKENS)
            if text is None:
                finding.count("walks without an end")
                continue
            complaint = judge.complaint(json.loads(text))
            finding.count("walks invalid" if complaint else "walks valid")
            if complaint:
                finding.complaints.append(complaint)


def _kind(message: str) -> str:
    """A refusal without what is special to one schema."""
    reason = message.rpartition("cannot be held to: ")[2]
    reason = reason.partition("failed to compile JSON schema: ")[2] or reason
    return _NAMES.sub("", reason).strip(" :;(")[:80]
