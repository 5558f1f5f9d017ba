"""`Retry-After` as upstreams write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.retry_after import MOST_S, retry_after_s

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2", 2.0),
        (b" 2 ", 2.0),
        (b"0", 0.0),
        (b"1.5", 1.5),
        (b"-5", 0.0),
        (b"3600", 3600.0),
        (b"86400", MOST_S),
        (b"1e300", MOST_S),
        (b"Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        (b"Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        (b"Sun Nov  6 08:49:47 1994", 10.0),
        (b"Sun, 06 Nov 1994 08:49:47 -0000", 10.0),
        (b"Sun, 06 Nov 1994 08:49:36 GMT", 0.0),
        (b"Sun, 06 Nov 1904 08:49:36 GMT", 0.0),
        (b"Mon, 06 Nov 2094 08:49:37 GMT", MOST_S),
        (b"soon", None),
        (b"", None),
        (b"inf", None),
        (b"nan", None),
        (b"Sun, 06 Nov 99999 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 +999999", None),
        (b"\xff", None),
    ],
)
def test_both_forms_are_read(value: bytes, seconds: float | None) -> None:
    """Seconds and all three forms of a date; what is past is now, what is absurd is an hour."""
    assert retry_after_s([(b"retry-after", value)], NOW) == seconds


@pytest.mark.parametrize(
    ("millis", "seconds"), [(b"250", 0.25), (b"-1", 0.0), (b"99999999", MOST_S), (b"soon", 7.0)]
)
def test_milliseconds_are_finer(millis: bytes, seconds: float) -> None:
    """`retry-after-ms` counts before `Retry-After`, where it is legible."""
    headers = [(b"retry-after", b"7"), (b"retry-after-ms", millis)]
    assert retry_after_s(headers, NOW) == seconds


def test_nothing_said_is_nothing() -> None:
    """Absence is not zero."""
    assert retry_after_s([(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")], NOW) is None


@given(st.binary(max_size=60))
def test_no_value_breaks_it(value: bytes) -> None:
    """Whatever a proxy on the way makes of it."""
    seconds = retry_after_s([(b"retry-after", value)], NOW)
    assert seconds is None or 0 <= seconds <= MOST_S
