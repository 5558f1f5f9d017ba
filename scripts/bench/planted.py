#!/usr/bin/env python3
"""Conversations that are far too long, each with one fact planted in it: answered? fact kept?

Each of the conversations is made in three lengths, 2, 4 and 10 times the context. Our engine (a
real worker) is to answer all of them; the fact must be in the prompt wherever the rule of cutting
promises it (`planted_facts/places.py`). Beside it llama-server, which refuses, and the same
prompts cut from the front. The context is small (1,024 tokens) so that two cores can read all
600 prompts in an hour or two: 2k, 4k and 10k tokens of conversation. What is kept is a matter of
the rule alone: `--no-answers` takes a minute or so, at any context.

Prints Markdown; ends with 0 where all were answered and no promise was broken.

    .venv/bin/python scripts/bench/planted.py                             all of it
    .venv/bin/python scripts/bench/planted.py --conversations 17          a look, one each place
    .venv/bin/python scripts/bench/planted.py --no-answers --context 8192
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from at_rest.starts import DidNotSay
from engine_peer.contenders import LlamaServer, Task
from engine_peer.race import started
from planted_facts.making import Order, Planted, make
from planted_facts.places import PLACES
from planted_facts.report import Found, render
from planted_facts.sides import ANSWER_TOKENS, Ours, Peer, Prompts, ours

from fallback.modelstore.store import locate

_MODEL = "smollm2-135m-instruct"
_TIMES = (2, 4, 10)
_THREADS = 2


def main() -> int:
    arguments = _arguments()
    model = locate(_MODEL).path.resolve()
    if not model.is_file():
        return _fail(f"{model} is missing: run scripts/serve once")
    try:
        found = asyncio.run(_run(arguments, model))
    except DidNotSay as error:
        return _fail(f"llama-server did not start: {error}")
    print(render(found))
    broken = any(each.promised and not each.kept for each in found)
    return int(broken or any(each.answered is False for each in found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=200, metavar="N")
    parser.add_argument("--context", type=int, default=1024, metavar="TOKENS")
    parser.add_argument("--no-answers", action="store_true", help="only look what is kept")
    parser.add_argument("--no-peer", action="store_true", help="leave llama-server out")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, model: Path) -> Sequence[Found]:
    async with AsyncExitStack() as stack:
        engine = peer = None
        if not arguments.no_answers:
            engine = await stack.enter_async_context(ours(model, arguments.context))
            if not arguments.no_peer:
                task = Task(model=model, slots=1, slot_tokens=arguments.context, threads=_THREADS)
                (racer,) = await stack.enter_async_context(started([LlamaServer(task)]))
                peer = Peer(racer.chat)
        prompts = Prompts(model)
        return [found async for found in _all(arguments, prompts, engine, peer)]


async def _all(
    arguments: argparse.Namespace, prompts: Prompts, engine: Ours | None, peer: Peer | None
) -> AsyncIterator[Found]:
    budget = arguments.context - ANSWER_TOKENS
    for number in range(arguments.conversations):
        for times in _TIMES:
            order = Order(
                seed=number,
                tokens=times * arguments.context,
                budget=budget,
                place=PLACES[number % len(PLACES)],
            )
            planted = make(order, prompts.count)
            found = _look(planted, times, prompts, budget)
            yield await _asked(found, planted, f"{number}x{times}", engine, peer)
        _say(f"{number + 1} of {arguments.conversations}")


def _look(planted: Planted, times: int, prompts: Prompts, budget: int) -> Found:
    text, tokens = prompts.fitted(planted.conversation, budget)
    assert tokens <= budget, "the fitted prompt is over the budget"
    front = prompts.cut_from_the_front(planted.conversation, budget)
    return Found(
        times=times,
        place=planted.place,
        promised=planted.promised,
        kept=planted.code in text,
        front_kept=planted.code in front,
    )


async def _asked(
    found: Found, planted: Planted, name: str, engine: Ours | None, peer: Peer | None
) -> Found:
    if engine is not None:
        answer = await engine.ask(planted.conversation, name)
        if answer.failure:
            _say(f"{name} was not answered: {answer.failure}")
        said = planted.code in answer.text
        found = replace(found, answered=not answer.failure, said=said)
    if peer is not None:
        theirs = await peer.ask(planted.conversation)
        found = replace(found, peer_answered=not theirs.failure)
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(why: str) -> int:
    _say(f"planted.py: {why}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
