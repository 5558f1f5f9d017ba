"""A calibration without a model: `fake_calibration.py BEHAVIOUR LIVES_FILE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from fallback.local.report import CalibrationOrder, CalibrationReport


def main(behaviour: str, lives: Path) -> None:
    with lives.open("ab") as file:
        file.write(b".")
    life = lives.stat().st_size
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=CalibrationOrder)
    if behaviour == "crash":
        os.abort()
    if behaviour == "endless-once" and life == 1:
        print("{", flush=True, end="")
        sys.stdin.buffer.read()
    if behaviour == "disturbed-once" and life == 1:
        print(msgspec.json.encode(CalibrationReport(end="disturbed")).decode(), flush=True)
        return
    end = "impossible" if behaviour == "impossible" else "done"
    report = CalibrationReport(end=end, detail=order.settings.model_name)  # type: ignore[arg-type]
    print(msgspec.json.encode(report).decode(), flush=True)


main(sys.argv[1], Path(sys.argv[2]))
