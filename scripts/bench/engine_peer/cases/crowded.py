"""One answer beside a program that takes a core for itself, such as a build or a test run."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from engine_peer.cases.base import Bench, Case, alike
from engine_peer.chat import question
from engine_peer.figures import decode_rate
from engine_peer.prompts import story
from engine_peer.race import Racer, Values
from engine_peer.report import Measure

_PROMPT_TOKENS, _ANSWER_TOKENS, _SLOT_TOKENS = 48, 96, 2048
_BUSY = "while True: pass"


async def _run(bench: Bench) -> None:
    await bench.race(alike(bench.task(1, _SLOT_TOKENS)), partial(_measure, bench))


async def _measure(bench: Bench, racer: Racer, number: int) -> Values:
    text = story(_PROMPT_TOKENS, seed=9000 + number)
    with _busy_core():
        answer = await racer.chat.ask(question(text, max_tokens=bench.sized(_ANSWER_TOKENS)))
    return {"crowded": decode_rate([answer]), "crowded_s": answer.whole_s}


@contextmanager
def _busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


CASE = Case(
    name="crowded",
    title="The same settings, one answer beside a program that takes a core",
    measures=(
        Measure(key="crowded", title="tokens/s", at_least=1.0),
        Measure(key="crowded_s", title="the whole answer, s", digits=2, better="less"),
    ),
    run=_run,
)
