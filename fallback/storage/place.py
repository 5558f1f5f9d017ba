"""Where the database lies."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def database_path(path: str | None) -> Path:
    """The configured file, else `fallback.db` in the user's data folder."""
    if path is not None:
        return Path(path).expanduser().absolute()
    return platformdirs.user_data_path("fallback") / "fallback.db"
