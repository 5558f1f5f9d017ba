"""What an operator may set about health: the section [health]."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fallback.core.units import Seconds

Days = Annotated[float, Meta(gt=0, le=36_500)]


class HealthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`false_down_days`: steady background errors call an outage falsely at most once in so many
    days; fewer are more sensitive. Evidence of failures loses half its worth in `half_life_s`.

    Free probes come `probe_first_s` apart at first and `probe_cap_s` at last, growing with the
    outage's age; so do canaries (`canary_first_s`, `canary_cap_s`) where the edge was alive all
    the while and only a real request can tell. An upstream that fails again within
    `forgiven_s` of its return is held back for `hold_first_s`, twice as long each time, at most
    `hold_cap_s`.
    """

    false_down_days: Days = 90.0
    half_life_s: Seconds = 900.0
    probe_first_s: Seconds = 2.0
    probe_cap_s: Seconds = 60.0
    canary_first_s: Seconds = 5.0
    canary_cap_s: Seconds = 60.0
    canary_lease_s: Seconds = 30.0
    hold_first_s: Seconds = 5.0
    hold_cap_s: Seconds = 30.0
    forgiven_s: Seconds = 600.0
