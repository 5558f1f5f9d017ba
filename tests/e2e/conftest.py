"""What all end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sdk_clients


@pytest.fixture(autouse=True)
def _sdk_clients_are_closed() -> Iterator[None]:
    yield
    sdk_clients.close()
