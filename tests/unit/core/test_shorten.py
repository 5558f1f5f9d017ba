from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fallback.core.shorten import MARK, Instructions, shorten

sentences = st.lists(
    st.sampled_from(
        ("You must sing.", "It rains.\n", "Never shout! ", "a b c ", "\n\n", "x" * 500, "Ümlaut: ")
    ),
    max_size=40,
).map(" ".join)


@given(st.text(max_size=200), st.integers(-5, 250))
def test_shortening_keeps_start_and_end(text: str, kept: int) -> None:
    """A shortened text is shorter, begins and ends like the whole one, and says it is cut."""
    short = shorten(text, kept)
    start, mark, end = short.partition(MARK)
    assert len(short) <= len(text)
    assert text.startswith(start)
    assert short == text or kept <= 0 or (mark and text.endswith(end))


@given(sentences, st.integers(-5, 3000))
def test_instructions_never_get_longer(text: str, kept: int) -> None:
    """What is left of instructions is within its bound, and a shortened one says so."""
    short = Instructions(text).shorten(kept)
    assert short == text or len(short) <= max(0, kept) + len(MARK)
    assert short in (text, "") or MARK in short


@given(sentences, st.integers(0, 3000), st.integers(0, 1000))
def test_more_room_keeps_all_that_less_kept(text: str, kept: int, more: int) -> None:
    """Every piece of a shorter version is in the longer one, in order."""
    whole = Instructions(text)
    pieces = whole.shorten(kept).split(MARK)
    longer = whole.shorten(kept + more)
    assert longer.startswith(pieces[0])
    assert _is_within("".join(pieces[1:]), longer)


def _is_within(text: str, other: str) -> bool:
    """Whether the characters of `text` are found in `other` in order."""
    rest = iter(other)
    return all(char in rest for char in text)


def test_start_and_rules_outlast_the_rest() -> None:
    """Half of what is kept are rules, wherever they stand."""
    text = (
        "You are a clerk. " + "It is warm. " * 300 + "Never sell at a loss. " + "So it is. " * 300
    )
    short = Instructions(text).shorten(400)
    assert short.startswith("You are a clerk. It is warm.")
    assert "Never sell at a loss." in short
    assert "So it is." not in short


def test_without_rules_the_start_is_kept() -> None:
    """A text that commands nothing is kept from its start."""
    text = "".join(f"Line {n}.\n" for n in range(200))
    start, mark, rest = Instructions(text).shorten(500).partition(MARK)
    assert (mark, rest) == (MARK, "")
    assert text.startswith(start)
    assert 450 < len(start) <= 500
