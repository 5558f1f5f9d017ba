"""The last finished requests, in memory: what `status` and receipts are told from."""

from __future__ import annotations

from collections import Counter, OrderedDict

from fallback.core.record import FinishedRequest


class Recent:
    """A bounded memory of records by receipt, and counts by tier since the start."""

    def __init__(self, *, limit: int = 1000) -> None:
        self._limit = limit
        self._records: OrderedDict[str, FinishedRequest] = OrderedDict()
        self._tiers: Counter[str] = Counter()

    def __call__(self, record: FinishedRequest) -> None:
        self._tiers[record.provenance.tier] += 1
        self._records[record.provenance.receipt] = record
        if len(self._records) > self._limit:
            self._records.popitem(last=False)

    def find(self, receipt: str) -> FinishedRequest | None:
        return self._records.get(receipt)

    def answered_by(self) -> dict[str, int]:
        """Requests by the tier that answered them (`none`: refused)."""
        return dict(self._tiers)
