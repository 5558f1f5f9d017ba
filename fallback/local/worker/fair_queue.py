"""Fair queueing's time: when whose next job starts. Pure.

A job is *due* when a machine that served all clients at once, in equal shares, would be done
with it: it starts when its client's last one is due, or at present if that is later, and takes
its own cost in seconds. Serving what is due first, nobody is held up by another's queue or long
prompt for longer than an equal share would have taken, and who asks for little is served soon.

Source: A. Demers, S. Keshav, S. Shenker, "Analysis and simulation of a fair queueing algorithm",
SIGCOMM 1989; with the start of what is served as the present: P. Goyal, H. Vin, H. Cheng,
"Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_CLIENTS: Final = 1024


class FairQueue:
    """Fair queueing's time: when each client's next job starts, in seconds of service.

    Forgets everyone when nobody is there any more: an idle engine owes nothing to anybody.
    """

    def __init__(self) -> None:
        self._present = 0.0
        self._due: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<FairQueue present={self._present:.3f} clients={len(self._due)}>"

    def starts(self, client: str) -> float:
        """When a job that comes now would start."""
        return max(self._present, self._due.get(client, 0.0))

    def advance(self, starts: Iterable[float]) -> None:
        """The present is the earliest start of all that is here; it never goes back."""
        self._present = max(self._present, min(starts, default=self._present))

    def charge(self, client: str, seconds: float) -> None:
        """The client's next job starts so much later (or earlier, where it got less)."""
        self._due[client] = self.starts(client) + seconds
        if len(self._due) > _CLIENTS:
            self._due = {c: due for c, due in self._due.items() if due > self._present}
        while len(self._due) > _CLIENTS:
            del self._due[min(self._due, key=self._due.__getitem__)]

    def clear(self) -> None:
        self._present = 0.0
        self._due.clear()
