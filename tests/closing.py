"""What a test opens and nobody else closes: closed when the test ends (see `conftest.py`).

A client that is only dropped closes its sockets whenever the collector comes by, and the
warning about it fails whichever test is running then.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

T = TypeVar("T")

_open = ExitStack()


def later(opened: AbstractContextManager[T]) -> T:
    """Enter it now and leave it when the test ends."""
    return _open.enter_context(opened)


def now() -> None:
    """Leave all that were entered, the last first."""
    _open.close()
