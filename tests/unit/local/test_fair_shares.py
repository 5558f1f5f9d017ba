"""Who has had how much of the model."""

from __future__ import annotations

from fallback.local.worker.fair_shares import Account, FairShares


def opened(shares: FairShares, client: str) -> Account:
    account = shares.account(client)
    shares.open(account)
    return account


def test_looking_changes_nothing() -> None:
    """Only a job that is taken in opens an account."""
    shares = FairShares()
    shares.account("a")
    assert repr(shares) == "<FairShares clients=0 equal_s=0.000>"


def test_a_newcomer_begins_with_an_equal_share() -> None:
    """Nobody saves up by being away: the share of those who were here is the newcomer's as well."""
    shares = FairShares()
    one, other = opened(shares, "one"), opened(shares, "other")
    shares.serve({one: 6.0, other: 2.0})
    assert opened(shares, "new").had_s == 4.0


def test_one_account_for_all_jobs_of_a_client() -> None:
    """A client's second job does not begin anew, and neither does one after a short absence."""
    shares = FairShares()
    one = opened(shares, "one")
    opened(shares, "other")
    shares.serve({one: 6.0})
    assert opened(shares, "one") is one
    shares.close(one)
    shares.close(one)
    assert shares.account("one").had_s == 6.0


def test_who_returns_late_begins_with_an_equal_share() -> None:
    """What somebody had too much is made good by being away, and no more than that."""
    shares = FairShares()
    one, other = opened(shares, "one"), opened(shares, "other")
    shares.serve({one: 6.0})
    shares.close(one)
    shares.serve({other: 10.0})
    assert shares.account("one").had_s == 13.0


def test_who_had_less_than_its_share_is_forgotten_when_gone() -> None:
    """Absence earns no credit, so there is nothing to remember."""
    shares = FairShares()
    one, other = opened(shares, "one"), opened(shares, "other")
    shares.serve({one: 6.0})
    shares.close(other)
    assert repr(shares) == "<FairShares clients=1 equal_s=3.000>"
    assert shares.account("other").had_s == 3.0


def test_an_idle_engine_owes_nothing() -> None:
    """When the last one is gone all begin anew."""
    shares = FairShares()
    one = opened(shares, "one")
    shares.serve({one: 6.0})
    shares.close(one)
    assert repr(shares) == "<FairShares clients=0 equal_s=0.000>"
    assert shares.account("one").had_s == 0.0


def test_what_is_done_for_nobody_counts_for_nobody() -> None:
    """Standby's work makes no share larger."""
    shares = FairShares()
    one = opened(shares, "one")
    shares.serve({Account("", 0.0): 5.0, one: 1.0})
    assert shares.account("new").had_s == 1.0


def test_accounts_are_bounded() -> None:
    """Of those that are gone, who had the least is forgotten first; who is here, never."""
    shares = FairShares()
    here = opened(shares, "here")
    for number in range(2000):
        account = opened(shares, str(number))
        shares.serve({account: 1.0 + number})
        shares.close(account)
    assert repr(shares).startswith("<FairShares clients=1024 ")
    assert shares.account("here") is here
    assert shares.account("1999").had_s > 2000.0
