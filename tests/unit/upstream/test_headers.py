"""Which credentials an upstream gets."""

from __future__ import annotations

import pytest

from fallback.upstream.headers import for_upstream

OWN = [(b"x-api-key", b"sk-client"), (b"authorization", b"Bearer sk-client")]
AGENT = (b"user-agent", b"app/1")


@pytest.mark.parametrize(
    ("family", "api_key", "credentials"),
    [
        ("anthropic", None, OWN),
        ("anthropic", "sk-ours", [(b"x-api-key", b"sk-ours")]),
        ("openai", "sk-ours", [(b"authorization", b"Bearer sk-ours")]),
        ("openai", "", []),
    ],
)
def test_credentials(
    family: str, api_key: str | None, credentials: list[tuple[bytes, bytes]]
) -> None:
    """The client's pass where no key is set; one that is set replaces them all, an empty one by
    none."""
    sent = for_upstream([*OWN, AGENT], family=family, api_key=api_key)
    assert sorted(sent) == sorted([*credentials, AGENT])
