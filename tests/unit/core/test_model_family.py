"""Names of models and their families."""

import pytest

from fallback.core.models import model_family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("", ""),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("claude-sonnet-4-5-20250929[1m]", "claude-sonnet-4-5"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-realtime-preview-2024-12-17", "gpt-4o-realtime"),
        ("o3-mini-2025-01-31", "o3-mini"),
        ("Claude-Haiku-4-5", "claude-haiku-4-5"),
    ],
)
def test_stamps_and_sizes_of_context_go(name: str, family: str) -> None:
    """What is learned of one version counts for the next."""
    assert model_family(name) == family


def test_a_name_without_end_is_cut() -> None:
    """Clients choose it."""
    assert len(model_family("x" * 100_000)) == 64
