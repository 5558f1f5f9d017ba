"""From samples to Markdown. Pure: no clock, no files, no processes."""

from collections.abc import Mapping, Sequence
from statistics import median

Samples = Mapping[str, Sequence[float]]
"""Measure (the keys of `turn`) -> one value a round."""

Row = tuple[str, str, str, int]
"""Title, key of the left column, key of the right one, digits after the point."""


def _start(title: str, key: str) -> Row:
    return title, f"cold/{key}", f"warm/{key}", 2


def _rest(title: str, when: str, key: str, digits: int = 0) -> Row:
    return title, f"{when}/proxy/{key}", f"{when}/worker/{key}", digits


_STARTS = (
    _start("it listens", "listening_s"),
    _start("first whole answer through the cloud tier", "cloud_s"),
    _start("local tier ready", "ready_s"),
    _start("first content of a local answer, asked for as soon as it listens", "local_content_s"),
    _start("its last byte", "local_end_s"),
    _start("for comparison: llama-cpp-python alone has loaded the model, unverified", "floor_s"),
)
_RESTS = (
    _rest("RSS after the start, MB", "start", "rss_mb"),
    _rest("of it file-backed", "start", "file_mb"),
    _rest("PSS", "start", "pss_mb"),
    _rest("RSS after 100 cloud and 5 local answers, MB", "used", "rss_mb"),
    _rest("of it file-backed", "used", "file_mb"),
    _rest("PSS", "used", "pss_mb"),
    _rest("RSS after a look at `/fallback/status`, MB", "status", "rss_mb"),
    _rest("PSS", "status", "pss_mb"),
    _rest("idle CPU after the start, ms/s", "start", "cpu_ms_per_s", 2),
    _rest("idle CPU after the answers, one upstream down, ms/s", "used", "cpu_ms_per_s", 2),
    _rest("for comparison, the libraries doing nothing: RSS, MB", "floor", "rss_mb"),
    _rest("of it file-backed", "floor", "file_mb"),
    _rest("idle CPU, ms/s", "floor", "cpu_ms_per_s", 2),
)


def render(samples: Samples) -> str:
    """Both tables and the local answers, each figure as median (lowest-highest)."""
    content, end = (spread(samples[f"later/local_{part}_s"], 2) for part in ("content", "end"))
    return "\n\n".join(
        (
            _table(
                ("seconds from the start of the process", "model cold", "warm"), _STARTS, samples
            ),
            _table(("at rest", "proxy", "worker"), _RESTS, samples),
            f"A local answer of a running service: first content after {content} s, last byte"
            f" after {end} s.",
        )
    )


def spread(values: Sequence[float], digits: int) -> str:
    """Median (lowest-highest); one value stands alone."""
    middle, low, high = (
        f"{each:.{digits}f}" for each in (median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def _table(head: tuple[str, str, str], rows: Sequence[Row], samples: Samples) -> str:
    filled = [
        (title, spread(samples[left], digits), spread(samples[right], digits))
        for title, left, right, digits in rows
    ]
    lines = [head, ("---", "---", "---"), *filled]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
