"""`fallback status`: in three lines, what is healthy and what is not, and why."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any

import typer

from fallback.cli.service import DEFAULT_URL, NoService, Url, ask
from fallback.core.times import span


def status(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, as JSON.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Tell the evidence, in plain words.")] = False,
    one_line: Annotated[
        bool, typer.Option("--line", help="One line, at once: for a prompt or a status line.")
    ] = False,
) -> None:
    """Say what is healthy, and why not. Exit code 1 if something is not well."""
    if one_line:
        from fallback.cli.line import show

        raise typer.Exit(show(["--url", url], {}))
    try:
        found = ask(url, "/fallback/status")
    except NoService as error:
        typer.echo(f"{error}. Start it with: fallback serve")
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in lines(found, now=datetime.datetime.now(datetime.UTC).timestamp()):
            typer.echo(line)
        for line in reasons(found) if why else ():
            typer.echo(line)
    raise typer.Exit(0 if _well(found) else 1)


def lines(found: dict[str, Any], *, now: float) -> list[str]:
    """One line for each upstream, and for the network, a model or a key that is not well; one
    for the local tier, one for what it keeps ready, one for a database that fails."""
    others = [entry for entry in found["unwell"] if entry["kind"] != "upstream"]
    names = [*found["upstreams"], *(entry["scope"] for entry in others), "local"]
    width = max(map(len, names))
    shown = [
        f"{name:<{width}}  {upstream['state']:<10}  {upstream['base_url']}{_since(upstream, now)}"
        for name, upstream in found["upstreams"].items()
    ]
    shown += [
        f"{entry['scope']:<{width}}  {entry['state']:<10}{_since(entry, now)}" for entry in others
    ]
    shown.append(f"{'local':<{width}}  {_local(found['local'])}")
    if told := _standby(found["standby"]):
        shown.append(f"{'':<{width}}  {told}")
    if (storage := found["storage"])["state"] == "failing":
        shown.append(f"outages cannot be written, {storage['waiting']} wait: {storage['error']}")
    if (receipts := found.get("receipts")) and receipts["state"] == "failing":
        lost = f", {receipts['lost']} are lost" if receipts["lost"] else ""
        shown.append(
            f"receipts cannot be written, {receipts['waiting']} wait{lost}: {receipts['error']}"
        )
    return shown


def reasons(found: dict[str, Any]) -> list[str]:
    """What is known of each scope that is not well, in plain words."""
    shown = []
    for entry in found["unwell"]:
        shown += ["", f"{entry['scope']}:", *(f"  {line}" for line in entry["why"])]
    return shown or ["", "All is well; there is nothing to explain."]


def _since(health: dict[str, Any], now: float) -> str:
    if health["state"] == "healthy":
        return ""
    story = health["story"]
    why = story[-1]["text"] if story else "no evidence kept"
    outage = f" [{health['outage']}]" if health["outage"] else ""
    return f"  for {span(now - health['since'])}: {why}{outage}"


def _local(local: dict[str, Any]) -> str:
    model = local.get("model")
    text = f"{local['state']:<10}"
    if model:
        # Of a remote server's model neither file nor, often, quantization is known.
        kind = model["quantization"] if model["sha256"] else model["engine"]
        text += f"  {model['name']} {kind}, {model['context_tokens']} tokens"
    if local.get("detail") and local["state"] != "ready":
        text += f"  {local['detail']}"
    return text.rstrip()


def _standby(standby: dict[str, Any]) -> str:
    """What is kept ready; empty where nothing is to be."""
    if standby["mode"] != "warm" or not standby["conversations"]:
        return ""
    text = (
        f"standby: {standby['warm']} of {standby['conversations']} live conversations are warm, "
        f"{standby['tokens']:,} tokens"
    )
    if standby["why"]:
        return f"{text}; {standby['state']}, since {standby['why']}"
    return text if standby["state"] == "ready" else f"{text}; {standby['state']}"


def _well(found: dict[str, Any]) -> bool:
    local = found["local"]["state"] in ("ready", "idle", "off")
    kept = (found["storage"], found.get("receipts") or {})
    failing = any(each.get("state") == "failing" for each in kept)
    return not found["unwell"] and local and not failing
