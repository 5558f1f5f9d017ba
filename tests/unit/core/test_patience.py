"""How long clients wait, and what that makes of the deadlines."""

import msgspec
import pytest
from captured import headers
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.patience import patience_s
from fallback.core.policy import Deadlines


@pytest.mark.parametrize(
    ("capture", "seconds"),
    [
        ("py-anthropic-create-000", 600.0),  # both headers
        ("py-anthropic-create-stream-000", 600.0),  # one of them NOT_GIVEN
        ("py-openai-chat-stream-000", 600.0),
        ("js-ansdk-stream-000", 600.0),
        ("cc329-json_for_stream-001", 300.0),
        ("lc-anthropic-invoke-000", None),  # NOT_GIVEN alone
        ("js-oasdk-gen-000", None),
        ("cx-ok-000", None),
    ],
)
def test_real_clients_tell_their_patience(capture: str, seconds: float | None) -> None:
    """As captured from the SDKs, Claude Code, LangChain and Codex."""
    assert patience_s(headers(capture)) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"10", 10.0),
        (b"2.5", 2.5),
        (b"0", None),
        (b"-1", None),
        (b"NOT_GIVEN", None),
        (b"None", None),
        (b"inf", None),
        (b"nan", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_what_is_no_time_counts_as_untold(value: bytes, seconds: float | None) -> None:
    """Infinity too: such a client waits as long as anybody."""
    assert patience_s({b"x-stainless-timeout": value}) == seconds


def test_the_shorter_patience_counts() -> None:
    """A client that tells both gives up at the first."""
    told = {b"x-stainless-timeout": b"60", b"x-stainless-read-timeout": b"5"}
    assert patience_s(told) == 5.0


def test_the_sdks_default_shortens_nothing() -> None:
    """600 s is longer than every wait, and no new value is made of the deadlines."""
    deadlines = Deadlines()
    assert deadlines.within(600.0) is deadlines
    assert deadlines.within(None) is deadlines


def test_an_impatient_client_gets_its_answer_begun_in_time() -> None:
    """Of 10 s, 5 are left for the next tier to begin in, wherever the cloud falls silent."""
    found = Deadlines().within(10.0)
    assert found == Deadlines(
        first_byte_s=5.0,
        first_content_s=5.0,
        whole_s=5.0,
        stall_s=5.0,
        canary_s=4.0,
        local_first_content_s=5.0,
    )


@given(st.floats(min_value=0.001, max_value=1e6))
def test_patience_never_lengthens(patience: float) -> None:
    """Each wait is the shorter of the operator's and half of the client's."""
    deadlines = Deadlines()
    for name, wait_s in msgspec.structs.asdict(deadlines.within(patience)).items():
        whole = getattr(deadlines, name)
        assert wait_s == (whole if name in ("progress_s", "alone_s") else min(whole, patience / 2))
