"""`python -m fallback.local.worker.calibration`: measure this machine, keep what was found.

A process of its own, as nice as there is, that the proxy starts when nobody needs the model and
kills when somebody does. The order comes as a line on stdin, the report goes out as one on
stdout; when stdin ends, the parent is gone, and so is this. Each measurement is kept as soon as
it is made, so that nothing but the one under way is lost with the process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import filelock
import msgspec

from fallback.core.errors import EngineError
from fallback.local.report import CalibrationOrder, CalibrationReport
from fallback.local.worker import calibration_store as store
from fallback.local.worker import loading, requantize
from fallback.local.worker.calibration_plan import (
    Options,
    Trial,
    explain,
    search,
    speeds,
    thread_options,
)
from fallback.local.worker.calibration_store import Record, Requantized
from fallback.local.worker.llama.estimate import model_shape, upper_need
from fallback.local.worker.llama.measure import measure
from fallback.local.worker.llama.model import Model
from fallback.local.worker.llama.quantize import has_repacked_kernels, quantize
from fallback.local.worker.llama.timed import Disturbed
from fallback.local.worker.looking import look
from fallback.local.worker.modelfile import ModelFileError, verify
from fallback.local.worker.tuning import Choice, Tuning, Variant, first_choice, tuned

# Deeper than this nothing is measured; a larger context would only take memory.
_CONTEXT_TOKENS = 8192
_NICENESS = 19
_AUTOGROUP = Path("/proc/self/autogroup")
_MOST_TRIES = 5


class Calibration:
    """One key's calibration, from where its record is."""

    def __init__(self, order: CalibrationOrder, cache_dir: Path) -> None:
        """Verify the model, look at the machine. Raises `ModelFileError`, `EngineError`."""
        self._order = order
        self._cache_dir = cache_dir
        self._settings = order.settings
        path = Path(order.settings.model_path)
        sha256 = verify(path, order.settings.model_sha256, cache_dir)
        self._found = loading.find(order.settings, sha256)
        self._layers, _ = loading.offload(order.settings, self._found)
        self._record = self._found.record or Record()
        self._loaded: tuple[Variant, Model] | None = None
        given = self._load("given")
        self._shape = model_shape(given.pointer)
        self._quantization = given.quantization

    def run(self) -> CalibrationReport:
        """Measure until the best is known, or the time is over. Raises `Disturbed`."""
        first = first_choice(self._settings, self._found.hardware, self._layers)
        options = self._options()
        while not self._record.done:
            now = search(first, options, self._record.trials)
            found = now.best is not None and now.best.samples is not None
            if now.next is None or (found and self._record.spent_s > self._order.limit_s):
                self._finish(now.best)
            else:
                self._try(now.next)
        return CalibrationReport(end="done", detail=explain(self._record.trials))

    def _options(self) -> Options:
        settings, hardware = self._settings, self._found.hardware
        offloaded = self._layers >= self._shape.layers
        flash, ubatch = settings.flash_attention, settings.ubatch_tokens
        return Options(
            requantized=self._may_requantize(),
            flash_attention=()
            if flash is not None or settings.kv_type == "q8_0"
            else (False, True),
            ubatch_tokens=() if ubatch else (128, 256, 512),
            threads=()
            if settings.threads or offloaded
            else thread_options(hardware.cores, hardware.logical_cores),
        )

    def _may_requantize(self) -> bool:
        return (
            self._settings.requantize == "auto"
            and self._layers == 0
            and has_repacked_kernels()
            and requantize.faster_quantization(self._quantization) is not None
            and requantize.has_space(self._cache_dir, self._found.path)
        )

    def _try(self, choice: Choice) -> None:
        """Measure a choice and keep what came of it. Raises `Disturbed`."""
        record = self._record
        tries = record.tries + 1 if record.trying == choice else 1
        self._keep(msgspec.structs.replace(record, trying=choice, tries=tries))
        began_s = time.monotonic()
        if tries > _MOST_TRIES:
            trial = Trial(choice=choice, failure="this process did not survive it")
        else:
            trial = self._measured(choice)
        self._keep(
            msgspec.structs.replace(
                self._record,
                trials=(*self._record.trials, trial),
                trying=None,
                tries=0,
                spent_s=self._record.spent_s + time.monotonic() - began_s,
            )
        )

    def _measured(self, choice: Choice) -> Trial:
        try:
            return self._measure(choice)
        except Disturbed:
            # It survived, though nothing was learned: that is no try.
            self._keep(msgspec.structs.replace(self._record, trying=None, tries=0))
            raise

    def _measure(self, choice: Choice) -> Trial:
        try:
            model = self._load(choice.variant)
            tuning = tuned(
                choice,
                self._settings,
                context_tokens=min(
                    self._settings.context_tokens or _CONTEXT_TOKENS, _CONTEXT_TOKENS
                ),
                gpu_layers=self._layers,
                kv_type="q8_0" if self._settings.kv_type == "q8_0" else "f16",
            )
            self._check_memory(model, tuning)
            quiet_share = self._order.quiet_share if self._layers == 0 else 0.0
            samples = measure(model.pointer, tuning, quiet_share=quiet_share)
        except (EngineError, ModelFileError) as error:
            return Trial(choice=choice, failure=str(error))
        return Trial(choice=choice, samples=samples)

    def _check_memory(self, model: Model, tuning: Tuning) -> None:
        """The worker is in memory as well. Raises `EngineError` where both do not fit."""
        if self._layers:
            return  # llama.cpp refuses what a GPU does not hold
        need, free = upper_need(model.pointer, tuning), look("", ()).free_bytes
        if need.context_bytes + need.compute_bytes > free:
            raise EngineError("there is not memory enough to measure this beside the worker")

    def _load(self, variant: Variant) -> Model:
        """The model of this variant; only one is in memory at a time."""
        if self._loaded is not None and self._loaded[0] == variant:
            return self._loaded[1]
        path = self._found.path if variant == "given" else self._requantized()
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
        model = Model(path, sha256="", gpu_layers=self._layers)
        self._loaded = (variant, model)
        return model

    def _requantized(self) -> Path:
        """The file made of the given one, now if it is not there yet. Raises `EngineError`."""
        quantization = requantize.faster_quantization(self._quantization)
        assert quantization is not None
        target = requantize.place(self._cache_dir, self._found.sha256, quantization)
        if self._record.requantized is not None and target.exists():
            return target
        written = requantize.temporary(target)
        threads = self._settings.threads or self._found.hardware.cores
        try:
            quantize(self._found.path, written, quantization, threads=threads)
            sha256 = requantize.keep(written, target)
        finally:
            requantize.remove(written)
        made = Requantized(quantization=quantization, made_of=self._quantization, sha256=sha256)
        self._keep(msgspec.structs.replace(self._record, requantized=made))
        return target

    def _finish(self, best: Trial | None) -> None:
        assert best is not None
        made = self._record.requantized
        if made is not None and best.choice.variant == "given":
            requantize.remove(
                requantize.place(self._cache_dir, self._found.sha256, made.quantization)
            )
            made = None
        found = None if best.samples is None else speeds(best.samples)
        self._keep(
            msgspec.structs.replace(
                self._record, choice=best.choice, speeds=found, requantized=made
            )
        )

    def _keep(self, record: Record) -> None:
        store.write(self._cache_dir, self._found.record_key, record)
        self._record = record


def main() -> int:
    """Take one order, give one report."""
    outbound = os.dup(1)
    os.dup2(2, 1)  # what native code prints is no report
    with contextlib.suppress(msgspec.DecodeError):
        order = msgspec.json.decode(_line(), type=CalibrationOrder)
        threading.Thread(target=_follow_parent, daemon=True).start()
        if order.give_way:
            _give_way()
        os.write(outbound, msgspec.json.encode(calibrate(order)) + b"\n")
        return 0
    print("calibration is started by `fallback serve`, not by hand", file=sys.stderr)  # noqa: T201
    return 1


def calibrate(order: CalibrationOrder) -> CalibrationReport:
    """Do it, unless another process does."""
    if order.settings.cache_dir is None:
        return CalibrationReport(end="impossible", detail="there is no folder to keep it in")
    lock = store.lock(Path(order.settings.cache_dir))
    try:
        with lock.acquire(blocking=False):
            return Calibration(order, Path(order.settings.cache_dir)).run()
    except filelock.Timeout:
        return CalibrationReport(end="elsewhere")
    except Disturbed:
        return CalibrationReport(end="disturbed")
    except (EngineError, ModelFileError, OSError) as error:
        return CalibrationReport(end="impossible", detail=str(error))


def _give_way() -> None:
    """Be the last whom the scheduler lets run. Linux may weigh sessions before it weighs the
    processes in them (`autogroup` in sched(7)): this one has a session of its own."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        _AUTOGROUP.write_text(str(_NICENESS))


def _line() -> bytes:
    """The first line of stdin; read without a buffer, which a thread that waits would lock."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _follow_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
