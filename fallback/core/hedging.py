"""When the next tier starts beside a cloud that is silent. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fallback.core.health import Admission, State
from fallback.core.units import Seconds

Rate = Annotated[float, Meta(gt=0)]


class HedgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`first_s` holds until a baseline is learned; an answer in one piece may take as long again
    as a healthy cloud needs to write it at `tokens_per_s`."""

    enabled: bool = True
    first_s: Seconds = 8.0
    suspect_s: Seconds = 2.0
    whole_s: Seconds = 30.0
    tokens_per_s: Rate = 40.0


def hedge_delay_s(
    settings: HedgeSettings,
    learned: float | None,
    admission: Admission,
    *,
    streams: bool,
    max_tokens: int | None,
    patience_s: float | None,
) -> float | None:
    """Seconds after which the next tier starts beside the cloud; None: never.

    `learned` is `Baselines.slow_after_s`; `patience_s` how long the client waits in all.
    """
    if not settings.enabled:
        return None
    if admission.kind == "canary":
        return 0.0
    delay = learned if learned is not None else _unlearned_s(settings, streams, max_tokens)
    if admission.state is not State.HEALTHY:
        delay = min(delay, settings.suspect_s)
    return delay if patience_s is None else min(delay, patience_s / 3)


def _unlearned_s(settings: HedgeSettings, streams: bool, max_tokens: int | None) -> float:
    if streams:
        return settings.first_s
    if max_tokens is None:
        return settings.whole_s
    return settings.first_s + max_tokens / settings.tokens_per_s
