"""Faults of the model's process on this machine, while it answers for a cloud that is down."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from standin.service import Fallback

from support.fault import Ask, Fault, always
from support.semantic_faults import refusal

_STORY = Ask(text="Write a long story about a lighthouse keeper.")
_DOWN = always(refusal(503, "api_error", "server_error"))


def hurting(hurt: Callable[[int], None]) -> Callable[[Fallback], None]:
    """Waits until the engine has work, hurts its worker (by its pid), waits for another one."""

    def meanwhile(service: Fallback) -> None:
        service.await_status(
            lambda status: status["local"]["active"] + status["local"]["queued"] > 0, "at work"
        )
        before = service.status()["local"]
        hurt(before["pid"])
        service.await_status(
            lambda status: (
                status["local"]["restarts"] > before["restarts"]
                and status["local"]["state"] == "ready"
            ),
            "ready with another worker",
        )

    return meanwhile


def kill(pid: int) -> None:
    """What the kernel does when the machine is out of memory."""
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """It is there, and does nothing: swapped out, stopped, hung."""
    os.kill(pid, signal.SIGSTOP)


def _local(name: str, hurt: Callable[[int], None]) -> Fault:
    return Fault(name=name, script=_DOWN, asks=(_STORY,), meanwhile=hurting(hurt))


LOCAL = (
    _local("worker-killed", kill),
    _local("worker-stopped", stop),
)
