"""The worker's composition root: the only place that names its concrete parts together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from fallback.core.ports import ModelIdentity
from fallback.local.settings import WorkerSettings
from fallback.local.worker.channel import Channel
from fallback.local.worker.cpu import logical_cores, physical_cores, used
from fallback.local.worker.crowd import Crowd
from fallback.local.worker.decoder import Decoder
from fallback.local.worker.desk import Desk
from fallback.local.worker.drafting import Drafting
from fallback.local.worker.intake import Intake
from fallback.local.worker.keeper import Keeper
from fallback.local.worker.llama.context import Llama
from fallback.local.worker.loading import Loaded
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.residence import Blob, from_bytes
from fallback.local.worker.scheduler import Scheduler
from fallback.local.worker.speed import Speed
from fallback.local.worker.spill import SpillStore
from fallback.local.worker.spill_writer import SpillWriter
from fallback.local.worker.warming import Warming

_FOLDER = "states"


class Assembly(NamedTuple):
    """What is run, each on its thread, and who it is."""

    decoder: Decoder
    intake: Intake
    identity: ModelIdentity


def assemble(settings: WorkerSettings, loaded: Loaded, desk: Desk, channel: Channel) -> Assembly:
    """Wire the parts together. Raises `EngineError` if there is no memory for the context."""
    model, tuning = loaded.model, loaded.tuning
    clock = time.monotonic
    store = _store(settings, loaded)
    cache = PrefixCache(
        slots=tuning.slots,
        context_tokens=tuning.context_tokens,
        budget_bytes=settings.prefix_cache_bytes if model.savable else 0,
        cuttable=model.cuttable,
    )
    if store is not None:
        cache.adopt(store.load_index())

    def read(key: str) -> Blob | None:
        state = None if store is None else store.read(key)
        return None if state is None else from_bytes(state)

    speed = Speed() if tuning.speeds is None else Speed(tuning.speeds.prefill, tuning.speeds.decode)
    drafting = Drafting(speed.decode_s, clock, enabled=settings.drafts and model.cuttable)
    llama = Llama(model, tuning, cache, read, drafting)
    context_tokens = min(tuning.sequence_tokens, model.train_context_tokens)
    scheduler = Scheduler(
        slots=tuning.slots,
        sequence_tokens=context_tokens,
        context_tokens=tuning.context_tokens,
        batch_tokens=tuning.batch_tokens,
        mixed_batch_tokens=settings.mixed_batch_tokens,
        queue_limit=settings.queue_limit,
        speed=speed,
    )
    decoder = Decoder(
        desk,
        channel,
        model,
        llama,
        scheduler,
        speed,
        Warming(cores=physical_cores(), threads=tuning.choice.threads),
        Keeper(cache, llama.residence, None if store is None else SpillWriter(store), clock),
        Crowd(logical_cores(), clock(), used()),
        clock,
    )
    intake = Intake(model, context_tokens, cached=cache.match, speed=speed, clock=clock)
    return Assembly(decoder, intake, model.identity(settings, context_tokens))


def _store(settings: WorkerSettings, loaded: Loaded) -> SpillStore | None:
    """Where states outlive this process, if they may."""
    if not settings.spill_bytes or not settings.cache_dir or not settings.prefix_cache_bytes:
        return None
    model, tuning = loaded.model, loaded.tuning
    depends = (
        f"{model.sha256} {model.engine} {tuning.kv_type}"
        f" flash={tuning.choice.flash_attention} gpu={tuning.gpu_layers > 0}"
    )
    return SpillStore(Path(settings.cache_dir) / _FOLDER, settings.spill_bytes, depends)
