"""The cloud dies in the middle of a Claude Code session; the local tier goes on.

Captured first turns of the real client (12,000 tokens), against the service as it is installed:
cold, where the model is only loaded and the cloud was never there; and warm, where the cloud
answered the turn, the engine got ready in its spare time, and then the cloud died. Each time the
turn is asked (the client's own retry), then the next one. Sessions differ from the first words
on, so that what is on disk from another round is of no use.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from healthy_path.mock_upstream import listening
from healthy_path.payloads import BURST
from healthy_path.processes import Launch, free_port, scratch_directory

from engine_peer.build import ROOT
from engine_peer.cases.base import Bench, Case
from engine_peer.chat import Refused
from engine_peer.contenders import OURS, LlamaServer, our_environment
from engine_peer.race import Racer, Values
from engine_peer.reading import Answer
from engine_peer.report import Measure

CAPTURES = {"print": "cc329-ok-000-POST-v1_messages", "screen": "cctui-ok-000-POST-v1_messages"}
_FOLDER = ROOT / "tests" / "captures"
_HEADERS = {
    "user-agent": "claude-cli/2.1.329 (external, sdk-cli)",
    "x-api-key": "sk-made-up",
    "anthropic-version": "2023-06-01",
}
_ANSWER_TOKENS = 48
_MOST_ROUNDS = 3  # getting ready in spare time takes minutes
_WARM_WITHIN_S, _LOOKS_EVERY_S = 900.0, 0.5
_TITLES = {
    "cold": "cold, first turn",
    "cold_next": "cold, second turn",
    "warm": "warm, first turn",
    "warm_next": "warm, second turn",
}
_TARGETS_S = {"cold": 10.0, "warm": 0.5}

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Installed:
    """Our service with its defaults, in front of this cloud."""

    model: Path
    cloud: str
    standby: str
    name: str = OURS
    ready: str = "local is ready"
    calibrates: bool = True

    def launch(self, port: int, directory: Path) -> Launch:
        program = ROOT / ".venv" / "bin" / "fallback"
        return Launch(
            command=(str(program), "serve", "--port", str(port)),
            environment={
                **our_environment(directory),
                "FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL": self.cloud,
                "FALLBACK_LOCAL__MODEL": str(self.model),
                "FALLBACK_LOCAL__STANDBY": self.standby,
            },
        )


async def _run(bench: Bench) -> None:
    for number in range(min(bench.rounds, _MOST_ROUNDS)):
        for name, capture in CAPTURES.items():
            body = session(json.loads((_FOLDER / f"{capture}.json").read_bytes())["body"], number)
            for measure in (_cold, _warm):
                values = await measure(bench, body)
                named = {f"claude_{name}/{key}": value for key, value in values.items()}
                bench.results.add(OURS, named)
    await _peer(bench)


def session(body: Body, number: int) -> dict[str, Any]:
    """The captured turn as one of another session: begun in other words, with a short answer.

    Its model's name makes the stand-in for the cloud stream.
    """
    blocks = [{"type": "text", "text": f"Session {number}."}, *body["system"]]
    return {**body, "system": blocks, "model": f"claude-{BURST}", "max_tokens": _ANSWER_TOKENS}


def next_turn(body: Body, answer: Answer) -> dict[str, Any]:
    """The turn after that answer: a question of the user's, or the results of what was called."""
    said: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    calls = [
        {"type": "tool_use", "id": f"toolu_{index}", "name": call.name, "input": _input(call)}
        for index, call in enumerate(answer.calls)
    ]
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "done"} for call in calls
    ]
    asked = {"role": "user", "content": [*results, {"type": "text", "text": "Go on, please."}]}
    return {
        **body,
        "messages": [*body["messages"], {"role": "assistant", "content": said + calls}, asked],
    }


def _input(call: Any) -> Any:
    try:
        return json.loads(call.arguments)
    except json.JSONDecodeError:
        return {}


async def _cold(bench: Bench, body: Body) -> Values:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with bench.started(Installed(bench.model, nowhere, "loaded")) as (racer,):
        return await _turns("cold", racer, body)


async def _warm(bench: Bench, body: Body) -> Values:
    with scratch_directory() as directory, listening(directory) as cloud:
        contender = Installed(bench.model, cloud.url, "warm")
        async with bench.started(contender) as (racer,):
            await racer.chat.message(body, headers=_HEADERS)
            since = perf_counter()
            await _is_warm(racer)
            values = {"warming_s": perf_counter() - since}
            cloud.end()
            return values | await _turns("warm", racer, body)


async def _is_warm(racer: Racer) -> None:
    """Wait until the engine has the session ready; only its status page tells."""
    async with asyncio.timeout(_WARM_WITHIN_S):
        while True:
            standby = (await racer.chat.get("/fallback/status"))["standby"]
            if standby["state"] == "ready" and standby["warm"]:
                return
            await asyncio.sleep(_LOOKS_EVERY_S)


async def _turns(kind: str, racer: Racer, body: Body) -> Values:
    first = await racer.chat.message(body, headers=_HEADERS)
    following = await racer.chat.message(next_turn(body, first), headers=_HEADERS)
    values: Values = {}
    for key, answer in ((kind, first), (f"{kind}_next", following)):
        values |= {
            f"{key}_s": answer.first_token_s,
            f"{key}_prompt": answer.prompt_tokens,
            f"{key}_prefilled": answer.prefilled_tokens,
        }
    return values


async def _peer(bench: Bench) -> None:
    """What the peer makes of such a turn, as it comes, with a context as large as ours."""
    task = bench.task(1, 8192)
    async with bench.started(LlamaServer(task)) as (racer,):
        for capture in CAPTURES.values():
            body = json.loads((_FOLDER / f"{capture}.json").read_bytes())["body"]
            try:
                answer = await racer.chat.message({**body, "max_tokens": _ANSWER_TOKENS})
                told = f"first token after {answer.first_token_s:.1f} s"
            except Refused as refused:
                told = f"refused, {refused}"
            bench.results.notes.append(f"llama-server, {capture}: {told}")


def _measures(name: str) -> tuple[Measure, ...]:
    capture = CAPTURES[name].partition("-000")[0]
    waits = tuple(
        Measure(
            key=f"claude_{name}/{key}_s",
            title=f"first token, s, {capture}, {title}",
            digits=2,
            better=None,
            at_most=_TARGETS_S.get(key),
        )
        for key, title in _TITLES.items()
    )
    tokens = tuple(
        Measure(
            key=f"claude_{name}/{key}_{what}",
            title=f"{what} tokens, {capture}, {title}",
            digits=0,
            better=None,
        )
        for key, title in _TITLES.items()
        for what in ("prompt", "prefilled")
    )
    warming = Measure(
        key=f"claude_{name}/warming_s",
        title=f"getting ready while the cloud is well, s, {capture}",
        better=None,
    )
    return (*waits, *tokens, warming)


CASE = Case(
    name="claude-code",
    title="The cloud dies in a Claude Code session of 12,000 tokens",
    measures=tuple(measure for name in CAPTURES for measure in _measures(name)),
    run=_run,
)
