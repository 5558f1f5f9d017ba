"""Which conversations live, and which is warmed next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.passed import Passed, Strain, passed
from fallback.local.conversations import Conversations, Warmth

AMPLE = 1e12
_serial = itertools.count()


def request(length: int, *, session: str = "one", beginning: str = "b") -> Passed:
    """A request of so many bytes, unlike any other."""
    body = f"{next(_serial):08}".encode().ljust(max(8, length), b".")
    strain = Strain("anthropic", session.encode(), beginning.encode())
    return Passed(strain=strain, body=body)


def chosen(live: Conversations, now: float = 0.0) -> Passed | None:
    return live.choose(now, budget_bytes=AMPLE)


def warm(live: Conversations, tokens: int, cached: int = 0, *, now: float = 0.0) -> Passed:
    """Warm whatever is next."""
    found = chosen(live, now)
    assert found is not None
    live.warmed(found, Warmth(tokens=tokens, cached_tokens=cached, kv_bytes=tokens), now)
    return found


def test_what_tells_conversations_apart_is_not_parsed() -> None:
    """The client's session and the first bytes; of a compressed body only the session."""
    headers = {b"x-claude-code-session-id": b"s1", b"content-type": b"application/json"}
    body = b'{"model":"m","messages":[' + b"x" * 10_000
    assert passed("anthropic", headers, body, None).strain == ("anthropic", b"s1", body[:256])
    assert passed("anthropic", headers, body, "zstd").strain == ("anthropic", b"s1", b"")


def test_only_the_newest_request_of_a_conversation_counts() -> None:
    """Ten turns that pass while the engine is busy are one thing to do."""
    live = Conversations()
    turns = [request(50_000 + 1000 * turn) for turn in range(10)]
    for turn in turns:
        live.saw(turn, 0.0)
    assert len(live) == 1
    assert warm(live, 9000) is turns[-1]
    assert chosen(live) is None


def test_two_sessions_are_two_conversations_the_newer_first() -> None:
    """Several projects at once are all kept, the one that was used last before the others."""
    live = Conversations()
    first, second = request(50_000, session="one"), request(50_000, session="two")
    live.saw(first, 0.0)
    live.saw(second, 1.0)
    assert warm(live, 9000) is second
    assert warm(live, 9000) is first


def test_an_agent_of_the_same_session_does_not_displace_it() -> None:
    """A shorter request of the same strain is another conversation, and both grow apart."""
    live = Conversations()
    main, agent = request(150_000), request(40_000)
    live.saw(main, 0.0)
    live.saw(agent, 1.0)
    agent_on, main_on = request(44_000), request(155_000)
    live.saw(agent_on, 2.0)
    live.saw(main_on, 3.0)
    assert len(live) == 2
    assert [warm(live, 9000), warm(live, 9000)] == [main_on, agent_on]


def test_a_little_shorter_is_still_the_same_conversation() -> None:
    """Marks for the provider's cache move from turn to turn."""
    live = Conversations()
    live.saw(request(50_000), 0.0)
    live.saw(request(49_800), 1.0)
    assert len(live) == 1


def test_the_same_request_again_is_nothing_new() -> None:
    """A client's retry finds what is warm already."""
    live = Conversations()
    first = request(50_000)
    live.saw(first, 0.0)
    warm(live, 9000)
    live.saw(Passed(strain=first.strain, body=bytes(bytearray(first.body))), 1.0)
    assert chosen(live, 1.0) is None


def test_what_passed_while_it_was_being_warmed_is_next() -> None:
    """And what was warmed meanwhile counts as warm."""
    live = Conversations()
    live.saw(request(50_000), 0.0)
    under_way = chosen(live)
    assert under_way is not None
    newer = request(51_000)
    live.saw(newer, 1.0)
    live.warmed(under_way, Warmth(tokens=9000, kv_bytes=1), 2.0)
    assert live.tokens == 9000
    assert warm(live, 9500, 9000, now=2.0) is newer


def test_a_refused_request_leaves_what_was_warm() -> None:
    """After a compaction that no local model may answer, the turn before it is still known."""
    live = Conversations()
    turn, compaction = request(50_000), request(58_000)
    live.saw(turn, 0.0)
    warm(live, 9000)
    live.saw(compaction, 1.0)
    assert chosen(live, 1.0) is compaction
    live.refused(compaction)
    assert (len(live), live.warm, live.tokens) == (1, 1, 9000)
    live.cool()
    assert chosen(live, 2.0) is turn


def test_a_refused_newcomer_is_forgotten() -> None:
    """A title request leaves nothing behind."""
    live = Conversations()
    live.saw(request(4000), 0.0)
    refused = chosen(live)
    assert refused is not None
    live.refused(refused)
    assert len(live) == 0


def test_a_new_worker_is_given_everything_again() -> None:
    """What was warm in the one that was lost is not in the next."""
    live = Conversations()
    live.saw(request(50_000), 0.0)
    first = warm(live, 9000)
    live.cool()
    assert (live.warm, live.tokens) == (0, 0)
    assert chosen(live) is first


def test_requests_that_do_not_build_on_each_other_are_let_rest() -> None:
    """Separate questions under one system prompt cost a prefill now and then, not each."""
    live = Conversations()
    now = prefills = 0.0
    while now < 3600.0:
        live.saw(request(5000), now)
        if chosen(live, now) is not None:
            warm(live, 2000, 300, now=now)
            prefills += 1
        now += 1.0
    assert prefills < 20


def test_a_conversation_that_grows_never_rests() -> None:
    """Each turn finds the one before, so the next is warmed at once."""
    live = Conversations()
    for turn in range(1, 50):
        live.saw(request(50_000 + 1000 * turn), float(turn))
        warm(live, 1000 * turn, 1000 * (turn - 1), now=float(turn))
    assert live.warm == 1


def test_suspicion_ends_the_rest() -> None:
    """When the cloud is suspect, the newest is warmed whatever came of it before."""
    live = Conversations()
    for at in range(2):
        live.saw(request(5000), float(at))
        warm(live, 2000, now=float(at))
    live.saw(request(5000), 2.0)
    assert chosen(live, 2.0) is None
    assert 0 < (live.due_in_s(2.0, budget_bytes=AMPLE) or 0) <= 10
    assert live.choose(2.0, budget_bytes=AMPLE, urgent=True) is not None


def test_newcomers_wait_where_nobody_comes_back() -> None:
    """Traffic of single requests is not worth a prefill each; one that comes back is."""
    live = Conversations()
    warmed = 0
    for at in range(100):
        live.saw(request(5000, beginning=str(at)), float(at))
        if chosen(live, float(at)) is not None:
            warm(live, 2000, now=float(at))
            warmed += 1
    assert warmed <= 4
    live.saw(request(5200, beginning="99"), 100.0)
    assert chosen(live, 100.0) is not None


def test_what_memory_would_not_hold_is_not_warmed() -> None:
    """Warming an older conversation must not push out a newer one."""
    live = Conversations()
    for at in range(5):
        live.saw(request(50_000, session=str(at)), float(at))
    for _ in range(5):
        if (found := live.choose(9.0, budget_bytes=2500.0)) is not None:
            live.warmed(found, Warmth(tokens=1000, kv_bytes=1000), 9.0)
    assert (live.warm, live.kv_bytes) == (2, 2000)


def test_single_requests_do_not_push_out_a_conversation() -> None:
    """What nobody came back to is forgotten first."""
    live = Conversations()
    live.saw(request(50_000), 0.0)
    live.saw(request(51_000), 1.0)
    for at in range(100):
        live.saw(request(5000, beginning=str(at)), 2.0 + at)
    live.saw(grown := request(52_000), 200.0)
    assert chosen(live, 200.0) is grown


def test_what_nobody_used_for_an_hour_does_not_live() -> None:
    """It is forgotten when the next request passes."""
    live = Conversations()
    live.saw(request(50_000, session="old"), 0.0)
    live.saw(request(50_000, session="new"), 4000.0)
    assert len(live) == 1


@given(
    st.lists(
        st.tuples(st.integers(8, 10_000_000), st.integers(0, 20), st.sampled_from("swrc")),
        max_size=60,
    )
)
def test_it_stays_bounded_and_consistent(steps: list[tuple[int, int, str]]) -> None:
    """Whatever passes: few conversations, few bytes, and never more warm than there are."""
    live = Conversations()
    for now, (length, session, what) in enumerate(steps):
        if what == "s":
            live.saw(request(length, session=str(session)), float(now))
        elif (found := chosen(live, float(now))) is not None:
            if what == "w":
                live.warmed(found, Warmth(tokens=length, kv_bytes=length), float(now))
            elif what == "r":
                live.refused(found)
            else:
                live.cool()
        assert live.warm <= len(live) <= 8
        assert live.held_bytes <= 32 * 1024 * 1024


@pytest.mark.parametrize("length", [9 * 1024 * 1024])
def test_a_giant_is_not_kept(length: int) -> None:
    """A body of many megabytes is images that the model would not see anyway."""
    live = Conversations()
    live.saw(request(length), 0.0)
    assert len(live) == 0
