"""What a fault is: where a request meets it, and what happens to the n-th one.

Play is made of the moves of `standin.exchange.Exchange`: bytes over a real socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from standin import Request
from standin.faults import Fault as Play
from standin.service import Fallback

Dialect = Literal["messages", "chat", "responses"]
DIALECTS: tuple[Dialect, ...] = ("messages", "chat", "responses")

# What to do at the n-th request for an answer (from 1); None: answer well.
Script = Callable[[int, Request], Play | None]

# A listener of `server.FaultServer`, or a place where nothing listens.
Place = Literal[
    "http",
    "named",
    "refused",
    "syn-dropped",
    "no-route",
    "tls-stall",
    "bad-certificate",
    "expired-certificate",
    "nxdomain",
    "servfail",
    "dns-black-hole",
]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request of a row. `model` None takes the dialect's usual one."""

    text: str = "Say hi."
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail. `everywhere`: the free probes meet it, too. `streams` and `wholes` say
    for which answers it exists; `asks` are sent one after the other; `again` asks go on until
    the cloud answers again. `meanwhile` is done to the service while the row is being asked."""

    name: str
    script: Script = lambda number, request: None
    place: Place = "http"
    everywhere: bool = False
    streams: bool = True
    wholes: bool = True
    asks: tuple[Ask, ...] = (Ask(),)
    again: bool = False
    meanwhile: Callable[[Fallback], None] | None = None

    @property
    def modes(self) -> tuple[bool, ...]:
        """`stream` as the client may ask for it."""
        return tuple(stream for stream in (True, False) if (self.wholes, self.streams)[stream])


def always(play: Play) -> Script:
    """The same at every request."""
    return lambda number, request: play


@dataclass(frozen=True)
class Cell:
    """One fault in one dialect, streamed or whole: an upstream of its own, by this name."""

    fault: Fault
    dialect: Dialect
    stream: bool

    @property
    def name(self) -> str:
        """Of the upstream, and of the first segment of its base URL's path."""
        return f"{self.dialect[0]}{self.mode[0]}-{self.fault.name}"

    @property
    def mode(self) -> str:
        return "stream" if self.stream else "whole"

    @property
    def family(self) -> str:
        return "anthropic" if self.dialect == "messages" else "openai"

    def __str__(self) -> str:
        return f"{self.fault.name}, {self.dialect}, {self.mode}"


def cells(fault: Fault) -> tuple[Cell, ...]:
    """The row of a fault: all dialects, all modes in which it exists."""
    return tuple(Cell(fault, dialect, stream) for dialect in DIALECTS for stream in fault.modes)
