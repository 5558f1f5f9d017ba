"""The table of earlier answers."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Connection,
    LargeBinary,
    Text,
    column,
    delete,
    desc,
    func,
    insert,
    select,
    table,
)

from fallback.core.stale import StaleAnswer
from fallback.storage.database import Database

_ANSWERS = table(
    "answers",
    column("key", Text),
    column("stored", BigInteger),
    column("origin", Text),
    column("content_type", Text),
    column("size", BigInteger),
    column("body", LargeBinary),
)
_US = 1_000_000
_SLACK = 1 / 16


class AnswerStore:
    """The last answer for each key; the oldest go where there are more than `most_bytes` and a
    sixteenth. Every
    method raises `StorageError`, and blocks while the disk does."""

    def __init__(self, database: Database, *, most_bytes: int) -> None:
        self._database = database
        self._most_bytes = most_bytes
        self._unchecked = most_bytes  # as if the limit had never been looked at

    def __repr__(self) -> str:
        return f"<AnswerStore most_bytes={self._most_bytes} {self._database!r}>"

    def save(self, key: str, answer: StaleAnswer) -> None:
        """In place of an earlier one of the same key."""
        c = _ANSWERS.c
        if len(answer.body) > self._most_bytes:
            return
        with self._database.writing() as connection:
            connection.execute(delete(_ANSWERS).where(c.key == key))
            row = {
                "key": key,
                "stored": round(answer.stored * _US),
                "origin": answer.origin,
                "content_type": answer.content_type,
                "size": len(answer.body),
                "body": answer.body,
            }
            connection.execute(insert(_ANSWERS).values(row))
            self._unchecked += len(answer.body)
            if self._unchecked > self._most_bytes * _SLACK:
                self._shrink(connection)
                self._unchecked = 0

    def _shrink(self, connection: Connection) -> None:
        """Delete the oldest over the limit: now and then, since all have to be looked at."""
        c = _ANSWERS.c
        newest_first = func.sum(c.size).over(order_by=[desc(c.stored), c.key])
        sizes = select(c.key, newest_first.label("with_newer")).subquery()
        too_old = select(sizes.c.key).where(sizes.c.with_newer > self._most_bytes)
        connection.execute(delete(_ANSWERS).where(c.key.in_(too_old)))

    def find(self, key: str, since: float) -> StaleAnswer | None:
        """The answer for a key, if it is no older than that (Unix seconds)."""
        c = _ANSWERS.c
        query = select(c.stored, c.origin, c.content_type, c.body).where(
            c.key == key, c.stored >= round(since * _US)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first() if connection else None
        if row is None:
            return None
        return StaleAnswer(
            stored=row.stored / _US,
            origin=row.origin,
            content_type=row.content_type,
            body=bytes(row.body),
        )
