"""Short prompts, 128 tokens each, 1 to 8 streams at once, the same settings on both sides."""

import asyncio
from functools import partial

from engine_peer.cases.base import Bench, Case, alike, memory_measures, memory_values
from engine_peer.chat import question
from engine_peer.figures import decode_rate, joint_rate, median_wait_s
from engine_peer.prompts import story
from engine_peer.race import Racer, Values
from engine_peer.report import Measure

STREAMS = (1, 2, 4, 8)
_PROMPT_TOKENS, _ANSWER_TOKENS, _SLOT_TOKENS = 48, 128, 2048


async def _run(bench: Bench) -> None:
    for streams in STREAMS:
        bench.say(f"  {streams} at once")
        task = bench.task(streams, _SLOT_TOKENS)
        await bench.race(alike(task), partial(_measure, bench, streams))


async def _measure(bench: Bench, streams: int, racer: Racer, number: int) -> Values:
    asks = (
        question(
            story(_PROMPT_TOKENS, seed=1000 * (number + 1) + stream),
            max_tokens=bench.sized(_ANSWER_TOKENS),
        )
        for stream in range(streams)
    )
    answers = await asyncio.gather(*(racer.chat.ask(each) for each in asks))
    return {
        f"decode/{streams}": decode_rate(answers),
        f"decode_joint/{streams}": joint_rate(answers),
        f"decode_wait_s/{streams}": median_wait_s(answers),
        f"decode_tokens/{streams}": sum(each.output_tokens for each in answers),
    } | memory_values("decode", streams, racer)


CASE = Case(
    name="decode",
    title="The same settings, short prompts, 128 tokens a stream",
    measures=(
        *(
            Measure(key=f"decode/{n}", title=f"tokens/s, {n} at once", at_least=1.0)
            for n in STREAMS
        ),
        *(
            Measure(key=f"decode_joint/{n}", title=f"tokens/s with the reading, {n} at once")
            for n in STREAMS
        ),
        *(
            Measure(
                key=f"decode_wait_s/{n}",
                title=f"time to first token, {n} at once, s",
                digits=3,
                better="less",
                at_least=1.0,
            )
            for n in STREAMS
        ),
        *memory_measures("decode", STREAMS),
        *(
            Measure(
                key=f"decode_tokens/{n}", title=f"tokens in all, {n} at once", digits=0, better=None
            )
            for n in STREAMS
        ),
    ),
    run=_run,
)
