"""Puts this folder on the import path, so that every test can say `import standin`.

The command-line clients of `tests/clients` are large downloads: they run only with `--clients`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_CLIENTS = Path(__file__).parent / "clients"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clients",
        action="store_true",
        help="also install Claude Code and Codex from npm and test with them",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    skipped = collection_path == _CLIENTS and not config.getoption("--clients")
    return True if skipped else None
