"""`fallback status`: in three lines, what is healthy and what is not, and why."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any

import typer


def status(
    url: Annotated[
        str, typer.Option(envvar="FALLBACK_URL", help="Where the service listens.")
    ] = "http://127.0.0.1:8484",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, as JSON.")] = False,
) -> None:
    """Say what is healthy, and why not. Exit code 1 if something is not well."""
    import httpx

    try:
        response = httpx.get(f"{url.rstrip('/')}/fallback/status", timeout=5.0, trust_env=False)
        found: dict[str, Any] = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        typer.echo(f"fallback does not answer at {url}: {error}. Start it with: fallback serve")
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in lines(found, now=datetime.datetime.now(datetime.UTC).timestamp()):
            typer.echo(line)
    raise typer.Exit(0 if _well(found) else 1)


def lines(found: dict[str, Any], *, now: float) -> list[str]:
    """One line for each upstream, one for the local tier."""
    width = max(len(name) for name in [*found["upstreams"], "local"])
    shown = [
        f"{name:<{width}}  {_upstream(upstream, now)}"
        for name, upstream in found["upstreams"].items()
    ]
    return [*shown, f"{'local':<{width}}  {_local(found['local'])}"]


def _upstream(upstream: dict[str, Any], now: float) -> str:
    text = f"{upstream['state']:<10}  {upstream['base_url']}"
    if upstream["state"] == "healthy":
        return text
    story = upstream["story"]
    why = story[-1]["text"] if story else "no evidence kept"
    return f"{text}  for {_span(now - upstream['since'])}: {why} [{upstream['outage']}]"


def _local(local: dict[str, Any]) -> str:
    model = local.get("model")
    text = f"{local['state']:<10}"
    if model:
        text += f"  {model['name']} {model['quantization']}, {model['context_tokens']} tokens"
    if local.get("detail") and local["state"] != "ready":
        text += f"  {local['detail']}"
    return text.rstrip()


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _well(found: dict[str, Any]) -> bool:
    upstreams = all(entry["state"] == "healthy" for entry in found["upstreams"].values())
    return upstreams and found["local"]["state"] in ("ready", "off")
