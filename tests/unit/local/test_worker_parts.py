"""The worker's small pure parts: sampling numbers, transcript, model file, desk, pulse."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fallback.core.conversation import Conversation, Sampling
from fallback.local import wire
from fallback.local.pulse import Pulse
from fallback.local.worker.desk import Desk, Gauges
from fallback.local.worker.modelfile import ModelFileError, verify
from fallback.local.worker.sampling import SamplerSettings, end_bias, ends_sentence, settings_for
from fallback.local.worker.transcript import Transcript

GGUF = b"GGUF\x03\x00\x00\x00and the rest"
SHA256 = hashlib.sha256(GGUF).hexdigest()


def test_sampling_defaults() -> None:
    """What the client leaves open is filled with what suits a small model."""
    assert settings_for(Sampling()) == SamplerSettings()


def test_sampling_range() -> None:
    """What the client sets is kept, brought into range where it is out of it."""
    wished = Sampling(temperature=-1, top_p=7.0, top_k=0, seed=-1, presence_penalty=0.5)
    assert settings_for(wished) == SamplerSettings(
        temperature=0,
        top_p=1.0,
        top_k=40,
        seed=0xFFFFFFFF,
        presence_penalty=0.5,
        repeat_penalty=1.0,
    )


def test_the_likeliest_token_is_the_models_own() -> None:
    """At temperature 0 nothing of ours weighs against what was said before."""
    assert settings_for(Sampling(temperature=0.0)).is_argmax
    assert not settings_for(Sampling(temperature=0.1)).is_argmax


def test_end_bias() -> None:
    """The push towards the end starts at three quarters of the limit and grows up to it."""
    pushes = [end_bias(tokens, 100) for tokens in (0, 75, 80, 100)]
    assert pushes[:2] == [0.0, 0.0]
    assert 0.0 < pushes[2] < pushes[3]


@pytest.mark.parametrize(
    "text", ["is done.", 'he said "no."', "(sic).", "one\n", "終わり。", "so!* "]
)
def test_sentence_ends(text: str) -> None:
    """After a sentence or a line an answer may stop without seeming broken off."""
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["is", "3.", "\n1.", "end ", "a,", "", ".com"])
def test_sentence_goes_on(text: str) -> None:
    """In mid-sentence, or after the number of a list's item, it may not."""
    assert not ends_sentence(text)


def test_transcript_whole_characters() -> None:
    """A character cut between two tokens is sent when it is whole, or never."""
    transcript = Transcript(())
    euro = "€".encode()
    assert [transcript.feed(part)[0] for part in (b"1 " + euro[:1], euro[1:], euro[:2])] == [
        "1 ",
        "€",
        "",
    ]
    assert transcript.flush() == ""


def test_transcript_stop() -> None:
    """A stop sequence over several tokens is found, and neither it nor what follows is text."""
    transcript = Transcript(("END",))
    assert transcript.feed(b"one E") == ("one ", None)
    assert transcript.feed(b"ND two") == ("", "END")


def test_transcript_stop_that_began_in_the_prefix() -> None:
    """A stop sequence may begin in what another model said; that is not sent again."""
    transcript = Transcript(("END",), "one EN")
    assert transcript.feed(b"D two") == ("", "END")
    assert Transcript(("END",), "one EN").feed(b"X two") == ("X two", None)


def test_transcript_held_back() -> None:
    """What only looked like a stop sequence comes out at the end."""
    transcript = Transcript(("END",))
    assert transcript.feed(b"one EN") == ("one ", None)
    assert transcript.flush() == "EN"


THOUGHT = ("<think>", "</think>")


@given(
    st.sampled_from(["", "\n<think>", "<thin"]),
    st.text("<think>/ENDx ", max_size=20),
    st.integers(0, 40),
    st.integers(1, 9),
)
def test_transcript_stops_are_the_answers(begun: str, rest: str, cut: int, size: int) -> None:
    """A stop sequence in reasoning ends nothing, one behind it does, whatever is out already."""
    text = begun + rest
    thought, closed, spoken = text.partition("</think>")
    is_thought = text.lstrip().startswith("<think>")
    thought, spoken = (thought + closed, spoken) if is_thought else ("", text)
    expected = thought + spoken.partition("END")[0]
    prefix = text[:cut]
    assume("END" not in prefix)
    assume(not prefix or not THOUGHT[0].startswith(prefix.lstrip()))
    transcript = Transcript(("END",), prefix, THOUGHT)
    pieces = (text[at : at + size] for at in range(len(prefix), len(text), size))
    said = "".join(transcript.feed(piece.encode())[0] for piece in pieces) + transcript.flush()
    assert said == expected[len(prefix) :]


def test_verified(tmp_path: Path) -> None:
    """The right file gives its hash, with or without an expected one, in any case."""
    model = tmp_path / "model.gguf"
    model.write_bytes(GGUF)
    assert verify(model, SHA256.upper(), None) == verify(model, None, tmp_path / "c") == SHA256


@pytest.mark.parametrize(
    ("content", "expected", "words"),
    [
        (None, None, "does not exist; run `fallback models pull`"),
        (b"<html>captive portal", None, "is not a GGUF file: it begins with b'<htm'"),
        (GGUF[:-1], SHA256, f"expected {SHA256}; run `fallback models verify`"),
    ],
)
def test_refused(tmp_path: Path, content: bytes | None, expected: str | None, words: str) -> None:
    """A file that is not the one wanted is refused by name, with the reason and what to do."""
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(ModelFileError, match=str(model)) as refused:
        verify(model, expected, None)
    assert words in str(refused.value)


def test_unreadable(tmp_path: Path) -> None:
    """A file that cannot be read is a reason too."""
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory"):
        verify(tmp_path, None, None)


def test_verification_is_remembered(tmp_path: Path) -> None:
    """A file that has not changed is not read twice; one that has is."""
    model, cache = tmp_path / "model.gguf", tmp_path / "cache"
    model.write_bytes(GGUF)
    verify(model, SHA256, cache)
    known = cache / "verified-models.json"
    known.write_bytes(known.read_bytes().replace(SHA256.encode(), b"f" * 64))
    assert verify(model, None, cache) == "f" * 64
    os.utime(model, (0, 0))
    assert verify(model, None, cache) == SHA256


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff"])
def test_broken_memory(tmp_path: Path, content: bytes) -> None:
    """A spoilt cache costs a hash, nothing else."""
    model = tmp_path / "model.gguf"
    model.write_bytes(GGUF)
    (tmp_path / "verified-models.json").write_bytes(content)
    assert verify(model, SHA256, tmp_path) == SHA256


def test_desk_is_bounded() -> None:
    """The desk refuses what is over its limit, and has room again when one is done."""
    desk = Desk(limit=2)
    one, two, three = (wire.Count(id, Conversation(model="m")) for id in (1, 2, 3))
    assert [desk.take(one), desk.take(two), desk.take(three)] == [True, True, False]
    desk.forget(1)
    assert desk.take(three)


def test_desk_cancel() -> None:
    """A cancelled request is wanted no more, wherever it is, and the decoder is told."""
    desk = Desk(limit=2)
    desk.take(wire.Count(1, Conversation(model="m")))
    desk.cancel(wire.Cancel(1))
    assert not desk.wants(1)
    assert desk.arrivals.get_nowait() == wire.Cancel(1)
    assert repr(desk) == "<Desk wanted=0 active=0 steps=0>"


def test_desk_gauges() -> None:
    """What is wanted and not in a slot is queued; work done is progress."""
    desk = Desk(limit=3)
    for id in (1, 2, 3):
        desk.take(wire.Count(id, Conversation(model="m")))
    desk.worked()
    desk.worked(Gauges(active=1))
    assert desk.pong() == wire.Pong(progress=2, active=1, queued=2)


def pong(progress: int, active: int = 1) -> wire.Pong:
    return wire.Pong(progress=progress, active=active, queued=0)


def test_pulse_misses() -> None:
    """A worker that answers no ping is given up after the misses allowed, however far apart."""
    pulse = Pulse(misses_allowed=2, stall_s=60, now=0)
    assert [pulse.ping(0), pulse.ping(1000)] == [None, None]
    assert pulse.ping(1001) == "it left 2 heartbeats unanswered"


def test_pulse_answered() -> None:
    """An answer forgives the misses before it."""
    pulse = Pulse(misses_allowed=1, stall_s=60, now=0)
    pulse.ping(0)
    pulse.pong(pong(1), 1)
    assert pulse.ping(2) is None
    assert repr(pulse) == "<Pulse unanswered=1 progress=1>"


def test_pulse_stall() -> None:
    """A worker that answers pings, has work and makes no progress is given up."""
    pulse = Pulse(misses_allowed=9, stall_s=60, now=0)
    pulse.pong(pong(5), 10)
    pulse.pong(pong(5), 69)
    assert pulse.ping(69) is None
    assert pulse.ping(70) == "it has had work for 60 s and made no progress"


def test_pulse_idle() -> None:
    """An idle worker may stand still for ever, and has its time from when work comes."""
    pulse = Pulse(misses_allowed=9, stall_s=60, now=0)
    pulse.pong(pong(5, active=0), 10)
    assert pulse.ping(1000) is None
    pulse.pong(pong(5, active=1), 1000)
    assert pulse.ping(1059) is None
    assert pulse.ping(1060) is not None
