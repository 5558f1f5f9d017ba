"""The time to the first token of one request on an idle engine: a short prompt, a long one, and a
long one whose beginning was read before; with the same settings and as each comes."""

from functools import partial

from engine_peer.cases.base import Bench, Case, alike
from engine_peer.chat import question
from engine_peer.contenders import Contender
from engine_peer.prompts import filler, story
from engine_peer.race import Racer, Values
from engine_peer.report import Measure

_SHORT_TOKENS, _LONG_TOKENS, _SLOT_TOKENS, _SLOTS = 32, 1000, 4096, 4
_KINDS = {"same": "same settings", "own": "as it comes"}
_CASES = {
    "short": "prompt of 32 tokens",
    "long": "prompt of 1,000 tokens",
    "next": "next turn after 1,000 tokens",
}


async def _run(bench: Bench) -> None:
    task = bench.task(_SLOTS, _SLOT_TOKENS)
    sides: dict[str, tuple[Contender, ...]] = {
        "same": alike(task),
        "own": bench.as_they_come(task),
    }
    for kind, contenders in sides.items():
        bench.say(f"  {_KINDS[kind]}")
        await bench.race(contenders, partial(_measure, bench, kind), _warm)


async def _warm(racer: Racer) -> None:
    await racer.chat.ask(question("Say hello.", max_tokens=4))


async def _measure(bench: Bench, kind: str, racer: Racer, number: int) -> Values:
    seed = 3000 + number
    short = await racer.chat.ask(question(story(_SHORT_TOKENS, seed), max_tokens=8))
    first = question(story(bench.sized(_LONG_TOKENS), seed + 500), max_tokens=8)
    long = await racer.chat.ask(first)
    turns = [
        *first["messages"],
        {"role": "assistant", "content": long.text},
        {"role": "user", "content": filler(40, seed)},
    ]
    following = await racer.chat.ask({**first, "messages": turns})
    found = {"short": short, "long": long, "next": following}
    return {f"first_{kind}_s/{case}": answer.first_token_s for case, answer in found.items()} | {
        f"first_{kind}_prompt/{case}": answer.prompt_tokens for case, answer in found.items()
    }


CASE = Case(
    name="first-token",
    title="Time to the first token of one request, s",
    measures=(
        *(
            Measure(
                key=f"first_{kind}_s/{case}",
                title=f"{title}, {side}",
                digits=3,
                better="less",
                at_least=1.0,
            )
            for kind, side in _KINDS.items()
            for case, title in _CASES.items()
        ),
        *(
            Measure(
                key=f"first_{kind}_prompt/{case}",
                title=f"tokens of it: {title}, {side}",
                digits=0,
                better=None,
            )
            for kind, side in _KINDS.items()
            for case, title in _CASES.items()
        ),
    ),
    run=_run,
)
