"""Answers to encode: a few typical ones, and a strategy for any valid sequence of events."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import strategies as st

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    Usage,
)

STARTED = Started(input_tokens=7)
USAGE = Usage(input_tokens=7, output_tokens=3, cached_tokens=2)


def finished(reason: StopReason = "end", stop_sequence: str | None = None) -> Finished:
    return Finished(reason=reason, usage=USAGE, stop_sequence=stop_sequence)


def call(id_: str, name: str, *pieces: str) -> list[AnswerEvent]:
    return [
        ToolCallStarted(id=id_, name=name),
        *(ToolCallDelta(piece) for piece in pieces),
        ToolCallEnded(),
    ]


TEXT: list[AnswerEvent] = [STARTED, TextDelta("Hel"), TextDelta("lo"), finished()]
EMPTY: list[AnswerEvent] = [STARTED, finished()]
MIXED: list[AnswerEvent] = [
    STARTED,
    ThinkingDelta("what now"),
    TextDelta("Let me look."),
    *call("1", "read", '{"path"', ': "a"}'),
    *call("2", "list", "{}"),
    finished("tool_calls"),
]
CUT: list[AnswerEvent] = [STARTED, TextDelta("half a sent"), finished("max_tokens")]
STOPPED: list[AnswerEvent] = [STARTED, TextDelta("one"), finished("stop_sequence", "END")]
STRUCTURED: list[AnswerEvent] = [
    STARTED,
    TextDelta('{"name": "Ada",'),
    TextDelta(' "age": 36}'),
    finished(),
]

_REASONS: tuple[StopReason, ...] = ("end", "stop_sequence", "tool_calls", "max_tokens")
_characters = st.characters(codec="utf-8")
_texts = st.text(_characters, min_size=1, max_size=12)
_arguments = st.dictionaries(
    st.text(_characters, max_size=5), st.none() | st.integers() | _texts, max_size=3
)


def pieces(text: str, cuts: list[int]) -> list[str]:
    """`text` cut at the given places, without empty pieces."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


@st.composite
def _calls(draw: st.DrawFn) -> list[AnswerEvent]:
    text = json.dumps(draw(_arguments), ensure_ascii=False)
    cuts = draw(st.lists(st.integers(0, 99), max_size=3))
    return call(draw(_texts), draw(st.sampled_from(["read", "list"])), *pieces(text, cuts))


@st.composite
def answers(draw: st.DrawFn) -> list[AnswerEvent]:
    """Any answer that the contract of `fallback.core.answer` allows."""
    segments = draw(
        st.lists(
            st.one_of(
                st.lists(_texts.map(TextDelta), max_size=3),
                st.lists(_texts.map(ThinkingDelta), max_size=2),
                st.just([TextDelta(" \n")]),
                _calls(),
            ),
            max_size=5,
        )
    )
    input_tokens = draw(st.integers(1, 10_000))
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=draw(st.integers(0, 10_000)),
        cached_tokens=draw(st.integers(0, input_tokens)),
    )
    reason = draw(st.sampled_from(_REASONS))
    last = Finished(
        reason=reason, usage=usage, stop_sequence="END" if reason == "stop_sequence" else None
    )
    started = Started(input_tokens=input_tokens)
    return [started, *(event for segment in segments for event in segment), last]


def visible_text(events: list[AnswerEvent]) -> str:
    """All text of an answer without its white space, to compare what survived."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return "".join(text.split())
