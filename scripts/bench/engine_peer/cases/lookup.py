"""A file is to be given again with a small change: most of the answer stands in the prompt.

Ours with drafts out of the prompt beside ours without; llama-server likewise, for comparison.
Greedy, so that the text has to be the same; the files are read before, so that decoding is
measured.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from engine_peer.cases.base import Bench, Case
from engine_peer.contenders import Contender, LlamaServer, OursSame
from engine_peer.figures import whole_rate
from engine_peer.files import EDITS, Edit
from engine_peer.race import Racer, Values
from engine_peer.report import OURS, Measure

WITHOUT, PEER_DRAFTS = "fallback without drafts", "llama-server with ngram-simple"
_SLOT_TOKENS, _ANSWER_TOKENS = 2048, 448
_SHOWN = 24


async def _run(bench: Bench) -> None:
    task = bench.task(len(EDITS), _SLOT_TOKENS)
    contenders: tuple[Contender, ...] = (
        OursSame(task, {"drafts": True}),
        OursSame(task, {"drafts": False}, name=WITHOUT),
        LlamaServer(task, same=True),
        LlamaServer(task, same=True, options=("--spec-type", "ngram-simple"), name=PEER_DRAFTS),
    )
    texts: dict[tuple[str, int], tuple[str, ...]] = {}
    await bench.race(contenders, partial(_measure, bench, texts), partial(_read, bench))
    for number in range(bench.rounds):
        _compare(bench, texts, number)


async def _read(bench: Bench, racer: Racer) -> None:
    for edit in EDITS:
        await racer.chat.ask(_body(edit, 8))


async def _measure(
    bench: Bench, texts: dict[tuple[str, int], tuple[str, ...]], racer: Racer, number: int
) -> Values:
    answers = [await racer.chat.ask(_body(edit, bench.sized(_ANSWER_TOKENS))) for edit in EDITS]
    texts[racer.name, number] = tuple(answer.text for answer in answers)
    return {
        "lookup": whole_rate(answers),
        "lookup_tokens": sum(each.output_tokens for each in answers),
        "lookup_parts": sum(len(each.content_at) for each in answers),
    }


def _body(edit: Edit, max_tokens: int) -> dict[str, Any]:
    return {"messages": edit.turns(), "max_tokens": max_tokens, "temperature": 0}


def _compare(bench: Bench, texts: Mapping[tuple[str, int], tuple[str, ...]], number: int) -> None:
    """Whether drafts changed a text of ours in that round."""
    ours, plain = texts.get((OURS, number), ()), texts.get((WITHOUT, number), ())
    if ours and plain:
        same = [mine == other for mine, other in zip(ours, plain, strict=True)]
        bench.results.add(OURS, {"lookup_same": 100 * sum(same) / len(same)})
        bench.results.notes += [
            f"round {number}: {difference(other, mine)}"
            for mine, other in zip(ours, plain, strict=True)
            if mine != other
        ]


def difference(plain: str, drafted: str) -> str:
    """Where two texts part, in words."""
    pairs = enumerate(zip(plain, drafted, strict=False))
    shorter = min(len(plain), len(drafted))
    at = next((index for index, (one, other) in pairs if one != other), shorter)
    seen, instead = plain[at : at + _SHOWN], drafted[at : at + _SHOWN]
    return f"without drafts {seen!r} after {at} characters, with them {instead!r}"


CASE = Case(
    name="lookup",
    title="Three files given again with a change, greedy",
    measures=(
        Measure(key="lookup", title="tokens/s", versus=WITHOUT, at_least=1.5),
        Measure(key="lookup_same", title="texts as without drafts, %", digits=0, from_=100),
        Measure(key="lookup_tokens", title="tokens", digits=0, better=None),
        Measure(key="lookup_parts", title="in so many parts", digits=0, better=None),
    ),
    run=_run,
)
