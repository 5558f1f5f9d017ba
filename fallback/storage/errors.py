"""What can go wrong with the database, in words that tell what to do."""

from __future__ import annotations


class StorageError(Exception):
    """The database cannot be read or written now: locked, full, lost, not ours."""
