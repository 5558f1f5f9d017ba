"""A worker without a model, for the supervisor's tests: `fake_worker.py BEHAVIOUR LIVES_FILE`.

It answers every request with `ANSWER`, a word a piece, going on after the request's prefix; a
count with the number of cancellations it has heard. What it warms is as many tokens as bytes, each
of which takes as many as the percentage that it may take. `LIVES_FILE` has a byte for each life.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fallback.core.ports import ModelIdentity
from fallback.local import wire
from fallback.local.worker.channel import Channel

ANSWER = "one two three four five"
MODEL = ModelIdentity(name="fake", sha256="00", quantization="Q0", context_tokens=9, engine="fake")


class FakeWorker:
    def __init__(self, behaviour: str, life: int) -> None:
        self.behaviour = behaviour
        self.life = life
        self.cancels = 0
        self.cpu = 0.0
        self.channel = Channel.take_stdio()

    def run(self) -> None:
        for message in self.channel.messages():
            if isinstance(message, wire.Start):
                self.load()
            elif isinstance(message, wire.Generate):
                self.answer(message)
            elif isinstance(message, wire.Warm):
                self.warm(message)
            elif isinstance(message, wire.Pace):
                self.cpu = message.cpu
            elif isinstance(message, wire.Cancel):
                self.cancels += 1
            elif isinstance(message, wire.Count):
                self.channel.send(wire.Counted(id=message.id, tokens=self.cancels))
            elif self.behaviour != "deaf":
                self.channel.send(wire.Pong(progress=1, active=self.stuck(), queued=0))

    def stuck(self) -> int:
        return 1 if self.behaviour == "stuck" else 0

    def load(self) -> None:
        if self.behaviour == "bad-file":
            self.channel.send(wire.Failed(kind="model_file", message="model.gguf is corrupt"))
            sys.exit(1)
        if self.behaviour == "assert":
            print("GGML_ASSERT(is_full) failed", file=sys.stderr, flush=True)
            os.abort()
        if self.behaviour == "dies-first" and self.life == 1:
            sys.exit(3)
        print("llama.cpp says hello on stdout", flush=True)
        calibrate = self.behaviour == "wants-calibration" and self.life == 1
        self.channel.send(wire.Ready(model=MODEL, load_s=0.5, calibrate=calibrate))
        if self.behaviour == "garbage":
            os.write(self.channel._outbound, b"llama_model_loader: loaded")

    def refused(self, id: int) -> bool:
        if self.behaviour not in ("busy", "bad_request", "failed"):
            return False
        kind = self.behaviour
        self.channel.send(wire.Error(id=id, kind=kind, message=f"is {kind}"))  # type: ignore[arg-type]
        return True

    def warm(self, message: wire.Warm) -> None:
        if self.refused(message.id) or self.behaviour == "silent":
            return
        self.maybe_die(2)
        tokens = len(message.body)
        self.channel.send(
            wire.Warmed(
                id=message.id,
                input_tokens=tokens,
                cached_tokens=0,
                prefilled_tokens=tokens,
                kv_bytes=round(tokens * 100 * self.cpu),
            )
        )

    def answer(self, message: wire.Generate) -> None:
        if self.refused(message.id):
            return
        self.channel.send(wire.Started(id=message.id, input_tokens=3))
        if self.behaviour in ("silent", "wants-calibration"):
            return
        words = ANSWER.removeprefix(message.request.prefix).split()
        said = 5 - len(words)
        for count, word in enumerate(words, 1):
            text = word if said + count == 1 else f" {word}"
            self.channel.send(wire.Piece(id=message.id, text=text, output_tokens=count))
            self.maybe_die(count)
        self.channel.send(
            wire.Finished(id=message.id, reason="end", input_tokens=3, output_tokens=len(words))
        )

    def maybe_die(self, count: int) -> None:
        once = self.behaviour == "crash-once" and self.life == 1 and count == 2
        if once or (self.behaviour == "crash-always" and count == 1):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    lives = Path(sys.argv[2])
    with lives.open("ab") as file:
        file.write(b".")
    FakeWorker(sys.argv[1], lives.stat().st_size).run()
