"""Which ways to run the model to measure, and which to take. Pure: a fold over what is measured.

One thing is changed at a time, from the best so far: a grid of all would take many minutes. What
matters most comes first: the file's quantization, then flash attention, then how much is computed
at once, and the threads. Another way is taken only where it saves `_MARGIN`, so that noise does not
choose.

As the search depends on nothing but what is measured, one that was interrupted goes on where it
was: give it what it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from fallback.local.worker.tuning import Choice, Line, Speeds

# A request that reads a thousand tokens at the start of a prompt and writes an answer after a few
# thousand; and its part of a step with others beside it. Prefix reuse keeps prompts this short.
_READ_TOKENS = 1000
_WRITTEN_TOKENS = 256
_DEPTH_TOKENS = 3000
_MARGIN = 0.05
_LEAST_S = 1e-9


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds a token, or a step, took at a depth of so many tokens."""

    depth: float
    seconds: float


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one choice. `crowd_s` is a step of `crowd` sequences, each
    `crowd_depth` deep."""

    prefill: tuple[Sample, ...]
    decode: tuple[Sample, ...]
    crowd: int
    crowd_depth: int
    crowd_s: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A choice and what came of it: samples, or why it cannot be measured."""

    choice: Choice
    samples: Samples | None = None
    failure: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen here; an empty or single option is not tried."""

    requantized: bool = False
    flash_attention: tuple[bool, ...] = (False, True)
    ubatch_tokens: tuple[int, ...] = (128, 256, 512)
    threads: tuple[int, ...] = ()


def thread_options(cores: int, logical_cores: int) -> tuple[int, ...]:
    """All physical cores, one less (for what else runs here), half of many (efficient ones
    slow the others down), and the hardware threads."""
    options = {cores, logical_cores}
    if cores > 2:
        options.add(cores - 1)
    if cores >= 8:
        options.add(cores // 2)
    return tuple(sorted(options))


def speeds(samples: Samples) -> Speeds:
    """The straight lines through the samples."""
    return Speeds(
        prefill=line(samples.prefill),
        decode=line(samples.decode),
        crowd=samples.crowd,
        crowd_depth=samples.crowd_depth,
        crowd_s=samples.crowd_s,
    )


def line(samples: Sequence[Sample]) -> Line:
    """Seconds at depth 0, and more for each token of depth; least squares, both positive."""
    count = len(samples)
    depth = sum(sample.depth for sample in samples) / count
    seconds = sum(sample.seconds for sample in samples) / count
    spread = sum((sample.depth - depth) ** 2 for sample in samples)
    slope = 0.0
    if spread:
        slope = sum((s.depth - depth) * (s.seconds - seconds) for s in samples) / spread
    slope = min(max(slope, _LEAST_S), seconds / max(depth, 1.0))
    return max(seconds - slope * depth, _LEAST_S), slope


def cost_s(trial: Trial) -> float:
    """Seconds of the work that choices are compared by; infinite for one that cannot be had."""
    if trial.samples is None:
        return float("inf")
    found = speeds(trial.samples)
    read_s, read_depth_s = found.prefill
    step_s, step_depth_s = found.decode
    reading = _READ_TOKENS * (read_s + read_depth_s * _READ_TOKENS / 2)
    writing = _WRITTEN_TOKENS * (step_s + step_depth_s * _DEPTH_TOKENS)
    beside = _WRITTEN_TOKENS * found.crowd_s / max(1, found.crowd)
    return reading + writing + beside


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Where the search is: the best trial so far, and the choice to measure next (None: done)."""

    best: Trial | None
    next: Choice | None


def search(first: Choice, options: Options, trials: Iterable[Trial]) -> Search:
    """Where the search from `first` is, after these trials in any order."""
    known = {trial.choice: trial for trial in trials}
    if first not in known:
        return Search(best=None, next=first)
    best = known[first]
    for axis in _AXES:
        others = axis(best.choice, options)
        missing = [choice for choice in others if choice not in known]
        if missing:
            return Search(best=best, next=missing[0])
        best = _better(best, [known[choice] for choice in others])
    return Search(best=best, next=None)


def _better(best: Trial, others: Sequence[Trial]) -> Trial:
    if not others:
        return best
    challenger = min(others, key=cost_s)
    return challenger if cost_s(challenger) < (1 - _MARGIN) * cost_s(best) else best


def _variants(choice: Choice, options: Options) -> list[Choice]:
    return _with(choice, "variant", ("requantized",) if options.requantized else ())


def _flash(choice: Choice, options: Options) -> list[Choice]:
    return _with(choice, "flash_attention", options.flash_attention)


def _ubatch(choice: Choice, options: Options) -> list[Choice]:
    return _with(choice, "ubatch_tokens", options.ubatch_tokens)


def _threads(choice: Choice, options: Options) -> list[Choice]:
    return _with(choice, "threads", options.threads)


def _batch_threads(choice: Choice, options: Options) -> list[Choice]:
    return _with(choice, "threads_batch", options.threads)


def _with(choice: Choice, name: str, values: Iterable[object]) -> list[Choice]:
    others = [value for value in values if value != getattr(choice, name)]
    return [msgspec.structs.replace(choice, **{name: value}) for value in others]


_AXES: tuple[Callable[[Choice, Options], list[Choice]], ...] = (
    _variants,
    _flash,
    _ubatch,
    _threads,
    _batch_threads,
)


def explain(trials: Iterable[Trial]) -> str:
    """The trials in words, the best first."""
    return "; ".join(
        f"{trial.choice.variant} flash_attention={'on' if trial.choice.flash_attention else 'off'}"
        f" ubatch={trial.choice.ubatch_tokens}"
        f" threads={trial.choice.threads}/{trial.choice.threads_batch}:"
        f" {trial.failure or f'{cost_s(trial):.2f} s'}"
        for trial in sorted(trials, key=cost_s)
    )
