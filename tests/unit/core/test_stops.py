from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fallback.core.stops import StopScanner

# Few letters, so that stop sequences overlap each other and the text all the time.
texts = st.text(alphabet="abc", max_size=30)
stop_sets = st.lists(st.text(alphabet="abc", max_size=4), max_size=4).map(tuple)


def scan(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    """All text that came out, and the stop sequence that ended it."""
    scanner = StopScanner(stops)
    out = ""
    for piece in pieces:
        safe, hit = scanner.feed(piece)
        out += safe
        if hit is not None:
            return out, hit
    return out + scanner.flush(), None


@given(st.lists(texts, max_size=6), stop_sets)
def test_chunk_boundaries_do_not_matter(pieces: list[str], stops: tuple[str, ...]) -> None:
    """The same text in other pieces gives the same output and the same stop sequence."""
    whole = "".join(pieces)
    assert scan(stops, pieces) == scan(stops, [whole]) == scan(stops, list(whole))


@given(texts, stop_sets)
def test_output_is_the_text_before_the_stop(text: str, stops: tuple[str, ...]) -> None:
    """The output and the stop sequence are a beginning of the text; no stop is in the output."""
    out, hit = scan(stops, list(text))
    assert text.startswith(out + (hit or ""))
    assert not any(stop in out for stop in stops if stop)
    if hit is None:
        assert out == text


@given(st.lists(texts, max_size=6), stop_sets)
def test_nothing_sent_belongs_to_a_later_stop(pieces: list[str], stops: tuple[str, ...]) -> None:
    """At every piece, what was let through is part of the final output."""
    final, _ = scan(stops, pieces)
    scanner = StopScanner(stops)
    sent = ""
    for piece in pieces:
        sent += scanner.feed(piece)[0]
        assert final.startswith(sent)


def test_text_that_cannot_be_a_stop_is_not_held_back() -> None:
    """Only the possible beginning of a stop sequence waits."""
    scanner = StopScanner(("###",))
    assert scanner.feed("one ##") == ("one ", None)
    assert scanner.feed("two") == ("##two", None)
    assert scanner.flush() == ""


def test_the_stop_that_completes_first_wins() -> None:
    """A shorter stop inside a longer one ends the text before the longer one can."""
    assert scan(("abcd", "bc"), ["abcd"]) == ("a", "bc")


def test_of_stops_that_end_together_the_longest_is_reported() -> None:
    """A stop that is the end of another hides nothing of it from the reader."""
    assert scan(("b", "ab"), ["xab"]) == ("x", "ab")


def test_nothing_comes_after_a_hit() -> None:
    """A scanner that has hit stays shut and says what it hit."""
    scanner = StopScanner(("!",))
    assert scanner.feed("go!more") == ("go", "!")
    assert scanner.feed("more") == ("", "!")
    assert scanner.flush() == ""
    assert repr(scanner) == "StopScanner(stops=('!',), held='', hit='!')"


@given(texts, texts, stop_sets)
def test_a_stop_may_begin_in_what_is_out_already(
    before: str, new: str, stops: tuple[str, ...]
) -> None:
    """Behind text that is out already, the rest is cut where it would be in the whole."""
    if any(stop in before for stop in stops if stop):
        return
    out, hit = scan(stops, [before + new])
    scanner = StopScanner(stops, after=before)
    safe, found = scanner.feed(new)
    assert (safe + scanner.flush(), found) == (out[len(before) :], hit)
