"""From /proc and samples to figures of the service at rest."""

import pytest
from at_rest.proc import parse_memory
from at_rest.tables import spread

ROLLUP = """\
55aa710ab000-7ffd86643000 ---p 00000000 00:00 0                          [rollup]
Rss:                4000 kB
Pss:                3000 kB
Pss_Anon:           2500 kB
Anonymous:          2500 kB
"""


def test_memory_is_told_in_millions_of_bytes() -> None:
    """The kernel's kB are 1024 bytes each, and what is not anonymous is in a file."""
    memory = parse_memory(ROLLUP)
    assert memory.rss_mb == pytest.approx(4.096)
    assert memory.pss_mb == pytest.approx(3.072)
    assert memory.file_mb == pytest.approx(1.536)


def test_a_kernel_that_leaves_a_figure_out_is_noticed() -> None:
    """A missing field is an error, never a zero."""
    with pytest.raises(KeyError):
        parse_memory(ROLLUP.replace("Anonymous:", "Anonymity:"))


def test_a_figure_shows_how_far_the_rounds_were_apart() -> None:
    """Several rounds are told as median (lowest-highest)."""
    assert spread([0.9, 0.31, 0.304], 2) == "0.31 (0.30-0.90)"


def test_one_round_stands_alone() -> None:
    """A single value has no extremes."""
    assert spread([44.6], 0) == "45"
