"""Asking the running service, on this machine or where FALLBACK_URL says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

Url = Annotated[str, typer.Option(envvar="FALLBACK_URL", help="Where the service listens.")]
DEFAULT_URL = "http://127.0.0.1:8484"


class NoService(Exception):
    """Nothing of ours answers at that address."""


class NotFound(NoService):
    """The service answers, and has no such thing."""


def ask(url: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A JSON object of the control plane. Raises `NoService`, or `NotFound` in its words."""
    import httpx

    try:
        response = httpx.get(f"{url.rstrip('/')}{path}", params=query, timeout=5.0, trust_env=False)
        found: dict[str, Any] = response.json()
        if response.status_code == 404 and "detail" in found:
            raise NotFound(found["detail"])
        response.raise_for_status()
    except (httpx.HTTPError, ValueError) as error:
        raise NoService(f"fallback does not answer at {url}: {error}") from error
    return found
