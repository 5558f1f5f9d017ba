"""Decoding where 4,000 tokens have been read before, each side as it comes.

Every stream has a text of its own, read once before the rounds; each side then has it in its cache
and is measured at answering. The answers are sampled, for a greedy small model repeats itself,
which drafts would profit from as no real answer lets them.
"""

import asyncio
from functools import partial

from engine_peer.cases.base import Bench, Case, memory_measures, memory_values
from engine_peer.chat import question
from engine_peer.figures import decode_rate, median_wait_s
from engine_peer.prompts import story
from engine_peer.race import Racer, Values
from engine_peer.report import Measure

STREAMS = (1, 2, 4, 8)
DEPTH_TOKENS = 4000
_ANSWER_TOKENS, _MARGIN_TOKENS = 96, 512
_TEMPERATURE = 0.8


async def _run(bench: Bench) -> None:
    for streams in STREAMS:
        bench.say(f"  {streams} at once")
        depth = bench.sized(DEPTH_TOKENS)
        task = bench.task(streams, depth + _ANSWER_TOKENS + _MARGIN_TOKENS)
        texts = [story(depth, seed=7000 + stream) for stream in range(streams)]
        await bench.race(
            bench.as_they_come(task),
            partial(_measure, bench, texts),
            partial(_read, texts),
        )


async def _read(texts: list[str], racer: Racer) -> None:
    for text in texts:
        await racer.chat.ask(question(text, max_tokens=1))


async def _measure(bench: Bench, texts: list[str], racer: Racer, number: int) -> Values:
    asks = (
        question(text, max_tokens=bench.sized(_ANSWER_TOKENS))
        | {"temperature": _TEMPERATURE, "seed": 100 * number + stream}
        for stream, text in enumerate(texts)
    )
    answers = await asyncio.gather(*(racer.chat.ask(each) for each in asks))
    streams = len(texts)
    return {
        f"depth/{streams}": decode_rate(answers),
        f"depth_wait_s/{streams}": median_wait_s(answers),
        f"depth_prompt/{streams}": answers[0].prompt_tokens,
        f"depth_cached/{streams}": min(each.cached_tokens for each in answers),
    } | memory_values("depth", streams, racer)


CASE = Case(
    name="depth",
    title="Each as it comes, after 4,000 tokens that it has read before",
    measures=(
        *(Measure(key=f"depth/{n}", title=f"tokens/s, {n} at once", at_least=1.4) for n in STREAMS),
        *(
            Measure(
                key=f"depth_wait_s/{n}",
                title=f"time to first token, {n} at once, s",
                digits=3,
                better="less",
                at_least=1.0,
            )
            for n in STREAMS
        ),
        *memory_measures("depth", STREAMS),
        *(
            Measure(
                key=f"depth_{what}/{n}",
                title=f"{what} tokens, {n} at once",
                digits=0,
                better=None,
            )
            for what in ("prompt", "cached")
            for n in STREAMS
        ),
    ),
    run=_run,
)
