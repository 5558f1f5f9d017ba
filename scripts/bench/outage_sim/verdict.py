"""Is ours first or equal? Where it is not: who is ahead, and what that costs his users."""

from __future__ import annotations

from collections.abc import Mapping

from outage_sim.figures import COLUMNS, Figures

_NEAR = 1.05
_SECOND_S = 1.0
_LEAST_REQUESTS = 0.5
_RETURN = ("return_s", "away")


def is_first(column: str, ours: float | None, theirs: float | None, rate: float) -> bool:
    """Equal is within 5 %, or within a second, or within the requests that come in one at that
    `rate` (a second). A false down has no such room. None: there is nothing to compare."""
    if ours is None or theirs is None:
        return True
    return ours <= theirs * _NEAR + _room(column, rate)


def _room(column: str, rate: float) -> float:
    if column == "false_downs_a_day":
        return 0.0
    return _SECOND_S if column.endswith("_s") else max(_LEAST_REQUESTS, rate * _SECOND_S)


def best(column: str, peers: Mapping[str, Figures]) -> tuple[float, str] | None:
    """The leading peer's figure and its name. Who found no outage is never away, and has
    nothing to return from: that is no merit, hence out of these two races."""
    racing = {
        name: getattr(peer, column)
        for name, peer in peers.items()
        if not (column in _RETURN and peer.detect_s is not None and peer.found == 0.0)
    }
    return min(((value, name) for name, value in racing.items() if value is not None), default=None)


def reasons(ours: Figures, peers: Mapping[str, Figures], rate: float) -> dict[str, str]:
    """For each column that a peer leads: why."""
    behind = {}
    for column in COLUMNS:
        leader = best(column, peers)
        if leader and not is_first(column, getattr(ours, column), leader[0], rate):
            behind[column] = _reason(column, ours, leader[1], peers[leader[1]], rate)
    return behind


def standing(ours: Figures, peers: Mapping[str, Figures], rate: float) -> tuple[int, int]:
    """In how many columns that a user feels ours is first or equal, and of how many."""
    felt = [
        column for column in COLUMNS if column != "attempts" and getattr(ours, column) is not None
    ]
    behind = reasons(ours, peers, rate)
    return sum(column not in behind for column in felt), len(felt)


def _reason(column: str, ours: Figures, name: str, peer: Figures, rate: float) -> str:
    lead = f"{name} {getattr(peer, column):.3g}, ours {getattr(ours, column):.3g}"
    costs = [
        f"{label} {_text(getattr(peer, other))} (ours {_text(getattr(ours, other))})"
        for other, label in COLUMNS.items()
        if other != column and not is_first(other, getattr(peer, other), getattr(ours, other), rate)
    ]
    return f"{lead}; it pays with {', '.join(costs)}" if costs else lead


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
