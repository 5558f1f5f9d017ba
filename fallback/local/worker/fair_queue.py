"""Fair queueing's time: when whose next job starts. Pure.

A job is *due* when a machine that served all clients at once, in equal shares, would be done
with it: it starts when its client's last one is due, or at present if that is later, and takes
its own cost in seconds. Serving what is due first, nobody is held up by another's queue or long
prompt for longer than an equal share would have taken, and who asks for little is served soon.

The present of that machine goes on by the seconds of service given, divided by those who share
them: a stream of newcomers, due ever later, cannot keep a large job waiting for ever.

Source: A. Demers, S. Keshav, S. Shenker, "Analysis and simulation of a fair queueing algorithm",
SIGCOMM 1989; A. Parekh, R. Gallager, "A generalized processor sharing approach to flow control
in integrated services networks: the single-node case", IEEE/ACM Transactions on Networking 1
(1993): nothing ends later than on that machine by more than the largest job.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Group: TypeAlias = tuple[float, str]
"""A level of priority, and a client: whose share it is."""

_CLIENTS: Final = 1024


class FairQueue:
    """Start times by level of priority and client, in seconds of service.

    Levels know nothing of each other. One that nobody is left in is forgotten: an idle engine
    owes nothing to anybody.
    """

    def __init__(self) -> None:
        self._present: dict[float, float] = {}
        self._due: dict[Group, float] = {}

    def __repr__(self) -> str:
        return f"<FairQueue levels={len(self._present)} clients={len(self._due)}>"

    def starts(self, group: Group) -> float:
        """When a job that comes now would start."""
        return max(self._present.get(group[0], 0.0), self._due.get(group, 0.0))

    def charge(self, group: Group, seconds: float) -> None:
        """The group's next job starts so much later; earlier, if its last ones took less."""
        self._due[group] = self.starts(group) + seconds
        if len(self._due) > _CLIENTS:
            self._forget_one()

    def serve(self, level: float, seconds: float, clients: int) -> None:
        """So much service was given, and so many clients would have shared it."""
        self._present[level] = self._present.get(level, 0.0) + seconds / clients

    def forget(self, level: float) -> None:
        """Nobody is left there."""
        self._present.pop(level, None)
        self._due = {group: due for group, due in self._due.items() if group[0] != level}

    def _forget_one(self) -> None:
        # Who is the least ahead of the present loses the least by being taken for new.
        del self._due[min(self._due, key=lambda g: self._due[g] - self._present.get(g[0], 0.0))]
