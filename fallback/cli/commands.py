"""All commands together."""

from __future__ import annotations

import typer

from fallback.cli import env, keys, models, outages, report, serve, status, verify

app = typer.Typer(
    name="fallback",
    help="Keeps critical work going when the cloud LLM stops answering.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("env")(env.env)
app.command("report")(report.report)
app.command("verify")(verify.verify)
app.add_typer(models.app, name="models")
app.add_typer(outages.app, name="outages")
app.add_typer(keys.app, name="keys")
