"""The values of `Host` that follow from the settings."""

import pytest

from fallback.bootstrap import _hosts
from fallback.config import load


@pytest.mark.parametrize(
    ("host", "answered"),
    [("::1", "[::1]"), ("fd00::2", "[fd00::2]"), ("Box.LAN", "box.lan"), ("10.0.0.2", "10.0.0.2")],
)
def test_the_address_it_listens_on_is_a_host(host: str, answered: str) -> None:
    """As clients write it: IPv6 in brackets, names in lower case."""
    hosts = _hosts(load(None, {"FALLBACK_SERVER__HOST": host}))
    assert hosts is not None
    assert answered in hosts
