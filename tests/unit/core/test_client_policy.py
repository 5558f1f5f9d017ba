"""The `Fallback-Policy` header of a client."""

from contextlib import suppress
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.client_policy import ClientMember, as_asked
from fallback.core.errors import BadRequest
from fallback.core.policy import Deadlines, Treatment

ALL = get_args(ClientMember)
CLOUD_ONLY = Treatment(tiers=("cloud", "alternate"), local_reason="Contracts.")


def refused(value: bytes, may: tuple[ClientMember, ...] = ALL) -> str:
    with pytest.raises(BadRequest) as caught:
        as_asked(Treatment(), value, may)
    assert caught.value.should_retry is False
    return str(caught.value)


def test_a_client_gets_what_it_asks_for() -> None:
    """All members, with whole numbers and decimals; what it does not name stays."""
    value = b"tiers=(local cloud), first-byte=5, whole=30.5, hedge=?0, priority=3, critical"
    assert as_asked(Treatment(on_quota="next"), value, ALL) == Treatment(
        tiers=("local", "cloud"),
        deadlines=Deadlines(first_byte_s=5.0, whole_s=30.5),
        hedge=False,
        priority=3,
        critical=True,
        on_quota="next",
    )


@pytest.mark.parametrize(
    ("value", "hedge"), [(b"hedge", True), (b"hedge=?0", False), (b"hedge=4", 4.0)]
)
def test_a_hedge_is_a_choice_or_a_time(value: bytes, hedge: bool | float) -> None:
    """As in the configuration."""
    assert as_asked(Treatment(), value, ALL).hedge == hedge


def test_every_deadline_but_two_can_be_asked_for() -> None:
    """`canary_s` and `alone_s` are about the health of others, and are the operator's."""
    names = set(Deadlines.__struct_fields__) - {"canary_s", "alone_s"}
    value = ", ".join(f"{name.removesuffix('_s').replace('_', '-')}=7" for name in sorted(names))
    found = msgspec.structs.asdict(as_asked(Treatment(), value.encode(), ALL).deadlines)
    assert {name for name, seconds in found.items() if seconds == 7.0} == names


def test_a_client_never_adds_a_tier() -> None:
    """What the rules exclude stays excluded, with their reason."""
    found = as_asked(CLOUD_ONLY, b"tiers=(local cloud)", ALL)
    assert (found.tiers, found.local_reason) == (("cloud",), "Contracts.")
    with pytest.raises(BadRequest, match=r"Allowed: cloud, alternate\."):
        as_asked(CLOUD_ONLY, b"tiers=(local)", ALL)


def test_a_client_can_keep_the_local_tier_out() -> None:
    """And is told so when nobody answers."""
    found = as_asked(Treatment(), b"tiers=(cloud)", ALL)
    assert found.tiers == ("cloud",)
    assert found.local_reason is not None
    assert "Fallback-Policy" in found.local_reason


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"tiers=(cloud", ["RFC 9651", "position"]),
        (b"\xff", ["RFC 9651"]),
        (b"tiers=cloud", ["'tiers'", "(cloud alternate local)"]),
        (b"tiers=(moon)", ["'tiers'", "(cloud alternate local)"]),
        (b"tiers=()", ["none of its tiers", "cloud, alternate, stale, local"]),
        (b"whole=0", ["'whole'", "above 0", "86400"]),
        (b"whole=?1", ["'whole'", "seconds"]),
        (b"whole=100000", ["'whole'", "86400"]),
        (b"hedge=-1", ["'hedge'", "?0, ?1"]),
        (b"priority=1000", ["'priority'", "-100 to 100"]),
        (b"critical=2", ["'critical'", "?0 or ?1"]),
        (b"speed=1", ["'speed'", "Allowed: tiers, connect, first-byte", "critical."]),
    ],
)
def test_what_is_not_understood_is_refused(value: bytes, words: list[str]) -> None:
    """With what is allowed in its place."""
    for word in words:
        assert word in refused(value)


def test_what_the_operator_does_not_allow_is_refused() -> None:
    """Member by member, all deadlines together."""
    told = refused(b"priority=3", ("tiers", "deadlines"))
    assert "'priority' is not allowed here" in told
    deadlines = "connect, first-byte, first-content, whole, stall, progress, local-first-content"
    assert f"Allowed: tiers, {deadlines}." in told
    assert "client.may is empty" in refused(b"hedge", ())


@given(st.binary(max_size=80) | st.from_regex(r"(tiers|whole|hedge|x)=[(?\"a-z0-9. )]{0,12}"))
def test_a_value_is_followed_or_refused(value: bytes | str) -> None:
    """Nothing else happens, whatever it is."""
    asked = value if isinstance(value, bytes) else value.encode()
    with suppress(BadRequest):
        assert as_asked(Treatment(), asked, ALL).tiers
