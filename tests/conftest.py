"""What all tests share. Being here puts this folder on the import path: `import standin`.

The command-line clients of `tests/clients` are large downloads: they run only with `--clients`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import closing
import postgresql
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run; look for new ones with --hypothesis-profile=explore.
# How long an example takes to draw says more of the machine than of the test.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("steady")

_CLIENTS = Path(__file__).parent / "clients"
_MODEL = Path(__file__).parents[1] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clients",
        action="store_true",
        help="also install Claude Code and Codex from npm and test with them",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    skipped = collection_path == _CLIENTS and not config.getoption("--clients")
    return True if skipped else None


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The embedded model's file."""
    if not _MODEL.exists():
        pytest.fail(f"the model {_MODEL} is not there; run `scripts/serve` once to fetch it")
    return _MODEL


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real server, without a database."""
    try:
        with postgresql.server() as url:
            yield url
    except postgresql.Missing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Each kind of database, empty: a SQLite file's path, a PostgreSQL's URL."""
    if request.param == "sqlite":
        return tmp_path / "of our own" / "fallback.db"
    server: str = request.getfixturevalue("postgresql_server")
    return postgresql.create(server, f"test_{uuid.uuid4().hex}")


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    closing.now()
