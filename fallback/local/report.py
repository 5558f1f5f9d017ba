"""What a calibration is asked, and what it says in the end: one line of JSON each way."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.local.settings import WorkerSettings

CalibrationEnd: TypeAlias = Literal["done", "disturbed", "elsewhere", "impossible"]


class CalibrationOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Measure this model on this machine. `quiet_share` is the part of its threads' time that the
    process must have had for a measurement to count, `give_way` lets everything else on the
    machine run first; after `limit_s` seconds of measuring, in all, the best so far is taken."""

    settings: WorkerSettings
    quiet_share: float = 0.75
    give_way: bool = True
    limit_s: float = 120.0


class CalibrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended. `done`: a choice is remembered. `disturbed`: the machine was busy with
    something else, another time may do. `elsewhere`: another process measures. `impossible`: why,
    in `detail`."""

    end: CalibrationEnd
    detail: str = ""
