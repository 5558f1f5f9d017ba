"""Where the database lies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import platformdirs

_POSTGRESQL = frozenset({"postgresql", "postgres"})


def database_place(path: str | None, url: str | None) -> Path | str:
    """The configured URL, else the configured file, else `fallback.db` in the user's data
    folder."""
    if url is not None:
        return url
    if path is not None:
        return Path(path).expanduser().absolute()
    return platformdirs.user_data_path("fallback") / "fallback.db"


def keys_folder(path: str | None, place: Path | str) -> Path:
    """Where the keys of receipts lie: the configured folder, else one beside the database's file,
    else one in the user's data folder."""
    if path is not None:
        return Path(path).expanduser().absolute()
    if isinstance(place, Path):
        return place.parent / "keys"
    return platformdirs.user_data_path("fallback") / "keys"


def with_driver(url: str) -> str:
    """PostgreSQL's URL with the driver that is ours."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in _POSTGRESQL else url


def shown(place: Path | str) -> str:
    """A place without the password in it."""
    if isinstance(place, Path):
        return str(place)
    parts = urlsplit(place)
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))
