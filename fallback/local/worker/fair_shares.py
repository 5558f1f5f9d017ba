"""How much of the model each client has had, so that all can have the same. Pure.

Every second of the model is put down to those it worked for. Who has had the least comes first,
and a newcomer begins as if it had had its equal share so far: nobody saves up by being away,
and no stream of newcomers can for ever get ahead of who waits.

Source: Y. Sheng et al., "Fairness in serving large language models", OSDI 2024 (virtual token
counters; here seconds instead of weighted tokens). What newcomers are lifted to is the virtual
time of A. Demers, S. Keshav, S. Shenker, "Analysis and simulation of a fair queueing
algorithm", SIGCOMM 1989: it goes on by the service given, divided by those who share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CLIENTS: Final = 1024


class Account:
    """One client's: `had_s` seconds of the model, `jobs` of its own that are here."""

    __slots__ = ("client", "had_s", "jobs")

    def __init__(self, client: str, had_s: float) -> None:
        self.client = client
        self.had_s = had_s
        self.jobs = 0

    def __repr__(self) -> str:
        return f"<Account {self.client!r} had_s={self.had_s:.3f} jobs={self.jobs}>"


class FairShares:
    """The accounts of all clients. They are closed when nobody is left: an idle engine owes
    nothing to anybody."""

    def __init__(self) -> None:
        self._equal_s = 0.0
        self._accounts: dict[str, Account] = {}

    def __repr__(self) -> str:
        return f"<FairShares clients={len(self._accounts)} equal_s={self._equal_s:.3f}>"

    def account(self, client: str) -> Account:
        """The client's account as it is if a job comes now; changes nothing."""
        found = self._accounts.get(client)
        if found is not None and found.jobs:
            return found
        had_s = self._equal_s if found is None else max(found.had_s, self._equal_s)
        return Account(client, had_s)

    def open(self, account: Account) -> None:
        """A job of the client's has come."""
        account.jobs += 1
        self._accounts[account.client] = account
        if len(self._accounts) > _CLIENTS:
            self._forget_one()

    def close(self, account: Account) -> None:
        """A job of the client's is gone. Who had less than its share is as good as new."""
        account.jobs -= 1
        if not any(each.jobs for each in self._accounts.values()):
            self._equal_s = 0.0
            self._accounts.clear()
        elif not account.jobs and account.had_s <= self._equal_s:
            del self._accounts[account.client]

    def serve(self, seconds: Mapping[Account, float]) -> None:
        """The model has worked so long for each of these."""
        for account, had_s in seconds.items():
            account.had_s += had_s
        sharing = sum(each.jobs > 0 for each in self._accounts.values())
        if sharing:
            given_s = sum(had_s for account, had_s in seconds.items() if account.jobs)
            self._equal_s += given_s / sharing

    def _forget_one(self) -> None:
        gone = [each for each in self._accounts.values() if not each.jobs]
        if gone:
            del self._accounts[min(gone, key=lambda each: each.had_s).client]
