"""The connectivity ladder, over real sockets: refused ports, TLS, a proxy, a portal."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from loopback_hosts import (
    KEYLESS,
    LIMITS,
    PORTAL,
    Authority,
    Names,
    Speaker,
    Tunneller,
    http,
    mute,
    serving,
)
from support.dead_ends import dropping, refusing

from fallback.core.diagnosis import Diagnosis
from fallback.core.health import NETWORK, Evidence, upstream_scope
from fallback.core.outcome import Failure
from fallback.core.rungs import Rung
from fallback.signals.ladder import Ladder, Target

API, CONTROL = "api.test", "control.test"
UPSTREAM = upstream_scope("cloud")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def target(base_url: str, **fields: str | None) -> Target:
    return Target(name="cloud", base_url=base_url, family="anthropic", **fields)


async def look(
    to: Target,
    controls: Sequence[str] = (CONTROL,),
    *,
    names: Sequence[str] = (API, CONTROL),
    others: Sequence[Target] = (),
    has_route: bool = True,
) -> Diagnosis:
    ladder = Ladder(
        (to, *others), controls, Names(*names), limits=LIMITS, has_route=lambda: has_route
    )
    return await ladder.look("cloud")


def climbed(diagnosis: Diagnosis, host: str = API) -> list[str]:
    return [rung.step for rung in diagnosis.rungs if rung.host == host and rung.step != "route"]


def highest(diagnosis: Diagnosis) -> Rung:
    """Where the climb to the upstream ended."""
    return [rung for rung in diagnosis.rungs if rung.host == API][-1]


def about(diagnosis: Diagnosis) -> dict[str, Evidence]:
    return {str(evidence.scope): evidence for evidence in diagnosis.evidence}


async def test_an_edge_that_refuses_us_for_want_of_a_key_lives(authority: Authority) -> None:
    """Every rung holds and is timed, no key is sent, and the network is cleared too."""
    speaker = Speaker(KEYLESS)
    async with serving(speaker, authority.context(API)) as port:
        to = target(f"https://{API}:{port}/base", ca_file=authority.pem)
        diagnosis = await look(to, [f"{CONTROL}:{port}"])
    assert diagnosis.at_fault == "nobody"
    assert climbed(diagnosis) == ["dns", "tcp", "tls", "answer"]
    assert all(rung.duration_s > 0 for rung in diagnosis.rungs if rung.step == "answer")
    assert all(evidence.alive for evidence in diagnosis.evidence)
    assert {evidence.scope for evidence in diagnosis.evidence} == {NETWORK, UPSTREAM}
    head = speaker.heard[0].lower()
    assert head.startswith(b"get /base/v1/models http/1.1\r\n")
    assert b"anthropic-version: 2023-06-01" in head
    assert b"authorization" not in head
    assert b"x-api-key" not in head


JSON = "content-type: application/json"
ENDLESS = b"[" + b" " * 2_000_000

ANSWERS = {
    "open": (http("200 OK", b'{"data": []}'), "nobody", None),
    "no-list": (http("404 Not Found", b"404 page not found"), "nobody", None),
    "edge-error": (http("503 Service Unavailable", b"{}"), "upstream", 2.0),
    "edge-page": (http("502 Bad Gateway", b"<html></html>"), "upstream", 2.0),
    "page": (PORTAL, "unclear", 1.0),
    "redirect": (http("302 Found", b"", "location: https://login.test/"), "unclear", 1.0),
    "not-http": (b"nonsense\r\n\r\n", "upstream", 3.0),
    "reset": (b"", "upstream", 3.0),
    "cut": (b'HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"data"', "upstream", 3.0),
    "deep": (http("200 OK", b"[" * 20_000 + b"]" * 20_000), "unclear", 1.0),
    "garbage": (http("200 OK", b'{"data": [', JSON), "unclear", 1.0),
    "endless": (http("200 OK", ENDLESS, "content-type: text/plain"), "unclear", 1.0),
    "long-list": (http("200 OK", ENDLESS, JSON), "nobody", None),
    "head-without-end": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "upstream", 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_an_edge_says_behind_its_own_certificate(
    name: str, authority: Authority
) -> None:
    """Its own errors are its fault, what is not of the API's is unclear and weighs little; the
    network is well."""
    answer, at_fault, weight = ANSWERS[name]
    async with serving(Speaker(answer), authority.context(API)) as port:
        diagnosis = await look(target(f"https://{API}:{port}", ca_file=authority.pem))
    found = about(diagnosis)
    assert diagnosis.at_fault == at_fault
    assert found["network"].alive
    assert found["cloud"].alive is (weight is None)
    assert found["cloud"].weight == (weight or 0.0)


async def test_an_edge_that_stays_silent_is_condemned_within_the_limits(
    authority: Authority,
) -> None:
    """The request waits its own time and no longer."""
    async with serving(mute, authority.context(API)) as port:
        diagnosis = await look(target(f"https://{API}:{port}", ca_file=authority.pem))
    last = highest(diagnosis)
    assert (last.step, last.failure) == ("answer", Failure.TIMEOUT)
    assert last.duration_s == pytest.approx(LIMITS.answer_s, abs=0.1)
    assert diagnosis.at_fault == "upstream"
    assert about(diagnosis)["cloud"].reason == "timeout"


async def test_a_refused_port_beside_a_control_that_answers_is_the_providers(
    authority: Authority,
) -> None:
    """The network is cleared in the same breath."""
    async with serving(mute, authority.context(CONTROL)) as control:
        with refusing() as port:
            to = target(f"https://{API}:{port}", ca_file=authority.pem)
            diagnosis = await look(to, [f"{CONTROL}:{control}"])
    assert diagnosis.at_fault == "upstream"
    assert about(diagnosis)["cloud"].reason == "unreachable-refused"
    assert about(diagnosis)["cloud"].weight == 3.0
    assert about(diagnosis)["network"].alive
    assert climbed(diagnosis) == ["dns", "tcp"]
    assert diagnosis.summary == (
        f"the provider: connection refused by {API}, while {CONTROL} answers"
    )


async def test_dropped_packets_on_both_ways_are_the_networks(authority: Authority) -> None:
    """Nothing is held against the upstream, and both climbs end at the same time."""
    with dropping() as port:
        to = target(f"https://{API}:{port}", ca_file=authority.pem)
        diagnosis = await look(to, [f"{CONTROL}:{port}"])
    assert diagnosis.at_fault == "network"
    assert [str(evidence.scope) for evidence in diagnosis.evidence] == ["network"]
    assert about(diagnosis)["network"].weight > 6.0
    assert diagnosis.summary == f"your network: no connection to {API} nor to {CONTROL}"
    assert sum(rung.duration_s for rung in diagnosis.rungs) < 2 * LIMITS.connect_s + 0.2


async def test_no_names_at_all_are_the_networks() -> None:
    """The sentence names both hosts."""
    diagnosis = await look(target(f"https://{API}"), [CONTROL], names=())
    assert diagnosis.at_fault == "network"
    assert about(diagnosis)["network"].reason == "network-dns"
    assert diagnosis.summary == f"your network: no DNS for {API} nor for {CONTROL}"


async def test_one_missing_name_is_the_providers(authority: Authority) -> None:
    """The control's name is there."""
    async with serving(mute, authority.context(CONTROL)) as control:
        to = target(f"https://{API}", ca_file=authority.pem)
        diagnosis = await look(to, [f"{CONTROL}:{control}"], names=[CONTROL])
    assert diagnosis.at_fault == "upstream"
    assert about(diagnosis)["cloud"].reason == "unreachable-dns"


async def test_without_a_route_no_witness_is_needed() -> None:
    """A machine off every network says so itself."""
    diagnosis = await look(target(f"https://{API}"), names=(), has_route=False)
    assert diagnosis.at_fault == "network"
    assert diagnosis.summary.startswith("your network: no route to the internet")


async def test_without_controls_the_fault_stays_unclear() -> None:
    """But the upstream cannot be used, and its health must know."""
    diagnosis = await look(target(f"https://{API}"), (), names=())
    assert diagnosis.at_fault == "unclear"
    assert about(diagnosis)["cloud"].weight == 3.0
    assert "no control host to compare with" in diagnosis.summary


async def test_another_upstream_that_answers_clears_the_network(authority: Authority) -> None:
    """A network that lets one provider through is not down, whatever the control hosts say."""
    async with serving(mute, authority.context("other.test")) as port:
        other = Target(
            name="other",
            base_url=f"https://other.test:{port}",
            family="openai",
            ca_file=authority.pem,
        )
        to = target(f"https://{API}")
        diagnosis = await look(to, [CONTROL], names=["other.test"], others=[other])
    assert diagnosis.at_fault == "upstream"


async def test_a_portal_that_takes_every_name_is_the_networks(
    authority: Authority, tmp_path: Path
) -> None:
    """It cannot show a certificate for either name."""
    portal = Authority(tmp_path).context("portal.test")
    async with serving(Speaker(PORTAL), portal) as port:
        to = target(f"https://{API}:{port}", ca_file=authority.pem)
        diagnosis = await look(to, [f"{CONTROL}:{port}"])
    assert diagnosis.at_fault == "network"
    assert about(diagnosis)["network"].reason == "network-certificate"


async def test_certificates_are_always_verified(authority: Authority) -> None:
    """One for another name is as good as none."""
    async with serving(Speaker(KEYLESS), authority.context("other.test")) as port:
        diagnosis = await look(target(f"https://{API}:{port}", ca_file=authority.pem))
    assert highest(diagnosis).failure is Failure.CERTIFICATE
    assert not any(evidence.alive for evidence in diagnosis.evidence)


async def test_tls_that_never_comes_ends_with_the_connection_limit(authority: Authority) -> None:
    """The handshake does not get a time of its own."""
    async with serving(mute) as port:
        diagnosis = await look(target(f"https://{API}:{port}", ca_file=authority.pem))
    last = highest(diagnosis)
    assert (last.step, last.failure) == ("tls", Failure.CONNECT_TIMEOUT)


async def test_an_upstream_of_ones_own_has_no_witness() -> None:
    """Its server being off says nothing about the network, nor the other way round."""
    with refusing() as port:
        diagnosis = await look(target(f"http://127.0.0.1:{port}"), [CONTROL], has_route=False)
    assert diagnosis.at_fault == "upstream"
    assert [str(evidence.scope) for evidence in diagnosis.evidence] == ["cloud"]
    assert diagnosis.summary == "the upstream: connection refused by 127.0.0.1"
    assert {rung.host for rung in diagnosis.rungs} == {"127.0.0.1"}


async def test_an_own_upstream_without_tls_that_answers_lives() -> None:
    """It proves nothing about the network."""
    async with serving(Speaker(http("404 Not Found", b"no"))) as port:
        diagnosis = await look(target(f"http://127.0.0.1:{port}"))
    assert diagnosis.at_fault == "nobody"
    assert [str(evidence.scope) for evidence in diagnosis.evidence] == ["cloud"]


# -- through a proxy ---------------------------------------------------------------------------


async def test_the_ladder_goes_through_the_proxy(authority: Authority) -> None:
    """With its user and password, which the upstream never sees; names are the proxy's matter."""
    speaker = Speaker(KEYLESS)
    async with serving(speaker, authority.context(API)) as port:
        tunneller = Tunneller({API: port})
        async with serving(tunneller) as proxy:
            to = target(
                f"https://{API}:{port}",
                ca_file=authority.pem,
                proxy=f"http://me:p%40ss@127.0.0.1:{proxy}",
            )
            diagnosis = await look(to, names=())
    assert diagnosis.at_fault == "nobody"
    assert climbed(diagnosis) == ["proxy", "tunnel", "tls", "answer"]
    assert b"proxy-authorization: Basic bWU6cEBzcw==" in tunneller.heard[0]
    assert b"proxy-authorization" not in speaker.heard[0]


async def test_the_ladder_goes_through_a_proxy_with_tls_of_its_own(authority: Authority) -> None:
    """One handshake inside the other."""
    async with serving(Speaker(KEYLESS), authority.context(API)) as port:
        tunneller = Tunneller({API: port})
        async with serving(tunneller, authority.context("127.0.0.1")) as proxy:
            to = target(
                f"https://{API}:{port}", ca_file=authority.pem, proxy=f"https://127.0.0.1:{proxy}"
            )
            diagnosis = await look(to, names=())
    assert diagnosis.at_fault == "nobody", diagnosis


async def test_a_plain_upstream_is_asked_of_the_proxy_by_its_whole_url() -> None:
    """RFC 9112 section 3.2.2; no tunnel is needed."""
    speaker = Speaker(KEYLESS)
    async with serving(speaker) as proxy:
        to = target(f"http://{API}", proxy=f"http://127.0.0.1:{proxy}")
        diagnosis = await look(to, names=())
    assert diagnosis.at_fault == "nobody"
    assert speaker.heard[0].startswith(f"GET http://{API}:80/v1/models HTTP/1.1\r\n".encode())
    assert f"host: {API}\r\n".encode() in speaker.heard[0]


async def test_a_proxy_that_is_off_is_nobody_elses_fault() -> None:
    """Where it is the only way out, it is the network."""
    with refusing() as port:
        to = target(f"https://{API}", proxy=f"http://127.0.0.1:{port}")
        diagnosis = await look(to, [CONTROL], names=())
    assert diagnosis.at_fault == "proxy"
    assert about(diagnosis)["network"].reason == "proxy-refused"
    assert "cloud" not in about(diagnosis)


async def test_a_proxy_that_only_one_upstream_uses_does_not_close_the_others() -> None:
    """The network is not what fails."""
    other = Target(name="other", base_url="https://other.test", family="openai")
    with refusing() as port:
        to = target(f"https://{API}", proxy=f"http://127.0.0.1:{port}")
        diagnosis = await look(to, names=(), others=[other])
    assert diagnosis.at_fault == "proxy"
    assert list(about(diagnosis)) == ["cloud"]


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
async def test_a_proxy_that_forbids_is_the_operators_matter(status: str) -> None:
    """A missing password is said with the setting that lacks it."""
    async with serving(Tunneller({}, refusal=http(status, b""))) as proxy:
        to = target(f"https://{API}", proxy=f"http://127.0.0.1:{proxy}")
        diagnosis = await look(to, [CONTROL], names=())
    assert diagnosis.at_fault == "proxy"
    assert about(diagnosis)["network"].reason == f"proxy-{status[:3]}"
    assert ("upstreams.cloud.proxy" in diagnosis.summary) is status.startswith("407")


async def test_what_the_proxy_cannot_reach_is_the_providers_if_it_reaches_others(
    authority: Authority,
) -> None:
    """The control host goes through the same proxy."""
    async with serving(mute, authority.context(CONTROL)) as control:
        async with serving(Tunneller({CONTROL: control})) as proxy:
            to = target(f"https://{API}", proxy=f"http://127.0.0.1:{proxy}", ca_file=authority.pem)
            reaches = await look(to, [f"{CONTROL}:{control}"], names=())
        async with serving(Tunneller({})) as proxy:
            to = target(f"https://{API}", proxy=f"http://127.0.0.1:{proxy}")
            reaches_none = await look(to, [CONTROL], names=())
    assert reaches.at_fault == "upstream"
    assert about(reaches)["cloud"].reason == "upstream-502"
    assert reaches_none.at_fault == "network"


def test_tls_contexts_verify() -> None:
    """There is no way to a context that does not."""
    from fallback.signals.climb import _trust

    for stranger in (False, True):
        context = _trust(None, stranger)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
