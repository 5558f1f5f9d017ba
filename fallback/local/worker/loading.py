"""From settings to a loaded model and the way it is to be run: verify, recall, look, decide.

The file that is run is the given one, or the one that was requantized from it here, if that was
measured to be faster and is still the file that was measured; else the given one is, silently:
a cache may always be lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fallback.core.errors import EngineError
from fallback.local.settings import WorkerSettings
from fallback.local.worker import calibration_store as store
from fallback.local.worker import requantize
from fallback.local.worker.calibration_store import Record, Requantized
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.llama.devices import features, gpus
from fallback.local.worker.llama.estimate import DryRun, model_shape, upper_need
from fallback.local.worker.llama.model import Model
from fallback.local.worker.looking import look
from fallback.local.worker.memory import (
    LEAST_CHOSEN_TOKENS,
    MOST_CHOSEN_TOKENS,
    Need,
    fitted,
    gpu_layers,
    kv_types,
    room_bytes,
    wished_context,
)
from fallback.local.worker.modelfile import ModelFileError, verify
from fallback.local.worker.tuning import Choice, KvType, Tuning, first_choice, obeying, tuned


class Found(NamedTuple):
    """What is known before the model is loaded. `record_key` names what is remembered of it."""

    path: Path
    sha256: str
    cache_dir: Path | None
    hardware: Hardware
    record_key: str
    record: Record | None


class Loaded(NamedTuple):
    """A model, how to run it, and whether it is worth being measured here."""

    model: Model
    tuning: Tuning
    calibrate: bool


def find(settings: WorkerSettings, sha256: str) -> Found:
    """Look at the machine and recall what was measured on it of the verified model."""
    cache_dir = Path(settings.cache_dir) if settings.cache_dir else None
    hardware = look(features(), gpus())
    key = store.key(settings, sha256, hardware)
    recalled = store.read(cache_dir, key) if cache_dir and settings.calibrate != "off" else None
    return Found(Path(settings.model_path), sha256, cache_dir, hardware, key, recalled)


def load(settings: WorkerSettings, sha256: str) -> Loaded:
    """Load what was verified to have this hash. Raises `ModelFileError`, and `EngineError` with a
    sentence where it does not fit into the machine."""
    found = find(settings, sha256)
    record = found.record if found.record is not None and found.record.done else None
    layers, context = offload(settings, found)
    choice = first_choice(settings, found.hardware, layers)
    if record is not None and record.choice is not None:
        choice = obeying(record.choice, settings)
    model = _model(choice, found, layers)
    tuning = fit(settings, found, model, choice, record, layers, context)
    wanted = settings.calibrate != "off" and found.cache_dir is not None and record is None
    return Loaded(model, tuning, wanted)


def fit(
    settings: WorkerSettings,
    found: Found,
    model: Model,
    choice: Choice,
    record: Record | None,
    layers: int,
    context: int,
) -> Tuning:
    """The tuning that fits into the memory. Raises `EngineError`."""
    shape = model_shape(model.pointer)
    on_host = 1 - layers / shape.layers
    dry: list[DryRun] = []

    def make(tokens: int, kv_type: KvType) -> Tuning:
        return tuned(
            choice,
            settings,
            context_tokens=min(tokens, context),
            kv_type=kv_type,
            gpu_layers=layers,
            speeds=record.speeds if record is not None else None,
        )

    def estimate(tuning: Tuning) -> Need | None:
        """By arithmetic where that is enough, else by a dry run of llama.cpp's; None where it
        cannot make such a context at all."""
        need = _on_host(upper_need(model.pointer, tuning), on_host)
        if need.total_bytes <= room:
            return need
        if not dry:
            dry.append(DryRun(model.path, gpu_layers=layers))
        try:
            return _on_host(dry[0].need(tuning), on_host)
        except EngineError:
            return None

    room = room_bytes(settings, found.hardware)
    try:
        return fitted(make, estimate, settings, shape, room)
    finally:
        for each in dry:
            each.close()


def offload(settings: WorkerSettings, found: Found) -> tuple[int, int]:
    """How many layers go on the GPUs there are, and the most context beside them. A context that
    nobody asked for by number is made smaller before layers stay behind."""
    devices = found.hardware.devices
    if not devices or settings.gpu_layers == 0:
        return 0, settings.context_tokens or MOST_CHOSEN_TOKENS
    dry = DryRun(found.path)
    try:
        shape = dry.shape()
        context = wished_context(settings, shape)
        while True:
            layers = gpu_layers(settings, shape, _need(dry, settings, found, context), devices)
            asked = settings.context_tokens or settings.gpu_layers >= 0
            if layers >= shape.layers or asked or context <= LEAST_CHOSEN_TOKENS:
                return layers, context
            context //= 2
    finally:
        dry.close()


def _need(dry: DryRun, settings: WorkerSettings, found: Found, context: int) -> Need:
    choice = first_choice(settings, found.hardware, gpu_layers=1)
    return dry.need(tuned(choice, settings, context_tokens=context, kv_type=kv_types(settings)[0]))


def _on_host(need: Need, share: float) -> Need:
    return Need(
        weights_bytes=int(need.weights_bytes * share),
        context_bytes=int(need.context_bytes * share),
        compute_bytes=need.compute_bytes,
    )


def made_of(choice: Choice, found: Found) -> tuple[Path, Requantized] | None:
    """The file that was made of the given one, if it is chosen and as it was."""
    made = found.record.requantized if found.record is not None else None
    if choice.variant != "requantized" or made is None or found.cache_dir is None:
        return None
    path = requantize.place(found.cache_dir, found.sha256, made.quantization)
    try:
        verify(path, made.sha256, found.cache_dir)
    except ModelFileError:
        return None
    return path, made


def _model(choice: Choice, found: Found, layers: int) -> Model:
    made = made_of(choice, found)
    if made is None:
        return Model(found.path, sha256=found.sha256, gpu_layers=layers)
    path, requantized = made
    return Model(
        path,
        sha256=requantized.sha256,
        gpu_layers=layers,
        requantized_from=requantized.made_of,
    )
