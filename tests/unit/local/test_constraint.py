"""Grammars at work on sequences, with a tokenizer of single bytes."""

from __future__ import annotations

import json

import llguidance
import numpy as np
import pytest

from fallback.core.errors import BadRequest, EngineError
from fallback.core.ports import Grammar, GrammarPart
from fallback.local.worker.compiled import CompiledGrammar, GrammarCache
from fallback.local.worker.constraint import Constraint

BYTES = llguidance.LLTokenizer("byte")
AGE = json.dumps(
    {
        "type": "object",
        "properties": {"age": {"type": "integer", "maximum": 99}},
        "required": ["age"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
)
# Each word makes new states in the lexer, so that little fuel is soon used up.
WORDY = Grammar(lark="start: WORDS\n" + r"WORDS: /(\S+\s){0,200}\S+/ & /(?s:.{1,2000})/")
LITTLE = llguidance.LLParserLimits(initial_lexer_fuel=40_000)
TEXT = b"and on and on " * 60


def constraint(lark: str, *parts: GrammarPart) -> Constraint:
    return Constraint(CompiledGrammar(BYTES, Grammar(lark=lark, parts=parts)))


def tokens(text: bytes) -> list[int]:
    return list(text)


def follow(follower: Constraint, text: bytes) -> None:
    for token in tokens(text):
        follower.accept(token)


def test_what_must_follow_is_taken_in_one_go() -> None:
    """Forced tokens come all at once, up to the limit, and are accepted by that."""
    follower = constraint(f"start: %json {AGE}")
    assert bytes(follower.take_forced(3)) == b'{"a'
    assert bytes(follower.take_forced(99)) == b'ge":'
    assert follower.take_forced(99) == ()
    assert not follower.may_end


def test_one_token_is_checked_and_only_then_the_vocabulary() -> None:
    """The mask and the check agree about each token."""
    follower = constraint('start: "a" | "b" "c"')
    mask = follower.mask()
    assert {int(token) for token in np.flatnonzero(mask)} == {ord("a"), ord("b")}
    assert [token for token in range(256) if follower.admits(token)] == [ord("a"), ord("b")]
    follower.accept(ord("a"))
    assert follower.finished


def test_drafts_are_checked_without_being_accepted() -> None:
    """Of a draft that much is admitted as follows the grammar; where it stands does not change."""
    follower = constraint("start: /[a-c]+/")
    assert follower.admitted(tokens(b"abx")) == 2
    assert follower.admitted(tokens(b"cab")) == 3
    follower.accept(ord("b"))
    assert repr(follower) == "<Constraint accepted=1 finished=False>"


def test_a_beginning_must_follow_the_grammar() -> None:
    """What the client has already is counted, or the answer cannot be gone on with."""
    constraint("start: /[a-c]+/").accept_prefix(tokens(b"abc"))
    with pytest.raises(EngineError, match="does not follow"):
        constraint("start: /[a-c]+/").accept_prefix(tokens(b"abx"))


def test_a_part_that_cannot_be_compiled_is_replaced_and_told() -> None:
    """One tool's impossible schema costs neither the tool nor the request."""
    bad = GrammarPart(rule="x", about="the input of the tool t", body="/(?!a)/", instead='"ok"')
    good = GrammarPart(rule="y", about="the input of the tool u", lark='start: "fine"')
    follower = constraint("start: x y", bad, good)
    assert bytes(follower.take_forced(99)) == b"okfine"
    (told,) = follower.loosened
    assert told.startswith("the input of the tool t: ")
    assert "look-around" in told


def test_a_part_that_must_be_kept_is_refused_by_name() -> None:
    """Where a guarantee is wanted, what cannot be compiled is the client's to change."""
    bad = GrammarPart(rule="x", about="the output's schema", body="/(?!a)/")
    with pytest.raises(BadRequest, match=r"the output's schema cannot be held to: .*look-around"):
        constraint("start: x", bad)


def test_a_grammar_that_is_none_is_refused() -> None:
    """An error outside all parts is told as the engine says it."""
    with pytest.raises(BadRequest, match="not usable"):
        constraint("start: nowhere")


def test_compiled_grammars_are_kept() -> None:
    """The same grammar is compiled once, and the oldest of too many is let go."""
    cache = GrammarCache(BYTES, size=2)
    one, two, three = (Grammar(lark=f'start: "{n}"') for n in range(3))
    first = cache.compiled(one)
    cache.compiled(two)
    assert cache.compiled(Grammar(lark='start: "0"')) is first
    cache.compiled(three)
    assert cache.compiled(one) is first
    assert repr(cache) == "<GrammarCache kept=2/2>"


def test_sequences_of_one_grammar_do_not_disturb_each_other() -> None:
    """Each constraint stands where its own sequence stands."""
    compiled = CompiledGrammar(BYTES, Grammar(lark='start: "ab" | "cd"'))
    one, other = Constraint(compiled), Constraint(compiled)
    one.accept(ord("a"))
    other.accept(ord("c"))
    assert one.admits(ord("b"))
    assert other.admits(ord("d"))


def test_a_lexer_that_others_used_up_is_replaced() -> None:
    """A sequence goes on with a lexer of its own once the shared one is at its limits."""
    compiled = CompiledGrammar(BYTES, WORDY, LITTLE)
    follower, greedy = Constraint(compiled), Constraint(compiled)
    follower.accept(ord("x"))
    used_up = greedy.admitted(tokens(TEXT))
    assert used_up < len(TEXT)
    assert not follower.admits(ord("y"))
    assert follower.mask()[ord("y")]
    follower.accept(ord("y"))
    assert Constraint(compiled).admits(ord("x"))


def test_limits_that_are_really_reached_end_the_answer() -> None:
    """What no lexer can follow is an error of the engine's, not an end of the answer."""
    follower = Constraint(CompiledGrammar(BYTES, WORDY, LITTLE))
    with pytest.raises(EngineError, match="output grammar failed"):
        follow(follower, TEXT)
    assert not follower.finished
