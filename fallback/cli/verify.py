"""`fallback verify`: is this receipt ours, is this text its answer, is the whole chain whole?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from fallback.cli.printing import fail
from fallback.cli.service import DEFAULT_URL, NoService, NotFound, Url, ask

if TYPE_CHECKING:
    from fallback.config import Settings
    from fallback.core.receipt import Receipt
    from fallback.storage.keys import Keyring
    from fallback.storage.ledger import Ledger
    from fallback.storage.verification import Link


def verify(
    receipt: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|ID]", help="A receipt, in a file or by its id."),
    ] = None,
    answer: Annotated[
        Path | None,
        typer.Option(help="A file: is it the answer, as it was sent or its text alone?"),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="The public keys, a JWK Set [the service's, or this machine's]."),
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Verify all that is kept.")] = False,
    url: Url = DEFAULT_URL,
    config: Annotated[
        Path | None,
        typer.Option(envvar="FALLBACK_CONFIG", help="TOML file; says where receipts are kept."),
    ] = None,
) -> None:
    """Verify a receipt, or with --chain all of them. Exit code 1 if something is not as it was.

    A receipt in a file is what GET /fallback/receipts/ID answers, or the JWS in it alone."""
    found = _Finder(url, config, keys)
    if chain:
        _verify_chain(found)
    elif receipt is None:
        fail("name a receipt, or say --chain")
    else:
        _verify_one(found, receipt, answer)


class _Finder:
    """Where receipts and keys come from: files, the running service, or its database."""

    def __init__(self, url: str, config: Path | None, keys: Path | None) -> None:
        self._url = url
        self._config = config
        self._keys = keys
        self._settings: Settings | None = None

    def token(self, receipt: str) -> str:
        """The signed receipt."""
        if Path(receipt).is_file():
            return _token_in(Path(receipt))
        try:
            found = ask(self._url, f"/fallback/receipts/{quote(receipt, safe='')}")
        except NotFound as error:
            fail(str(error))
        except NoService:
            return self._stored(receipt)
        token: str | None = found.get("jws")
        if token is None:
            fail(f"{receipt} is not in the chain yet: `fallback status` tells why")
        return token

    def keys(self) -> dict[str, Any]:
        """The public keys as a JWK Set."""
        if self._keys is not None:
            return _json(self._keys)
        try:
            return ask(self._url, "/fallback/jwks.json")
        except NoService:
            return self.keyring().public()

    def keyring(self) -> Keyring:
        from fallback.storage.keys import Keyring
        from fallback.storage.place import keys_folder

        return Keyring(keys_folder(self.settings.receipts.keys, self._place()))

    def ledger(self) -> Ledger:
        from fallback.storage.database import Database
        from fallback.storage.keys import CHECKPOINT_TYPE
        from fallback.storage.ledger import Ledger
        from fallback.storage.place import shown

        place = self._place()
        typer.echo(f"reading {shown(place)}", err=True)
        return Ledger(
            Database(place), lambda payload: self.keyring().sign(payload, CHECKPOINT_TYPE)
        )

    def _place(self) -> Path | str:
        from fallback.storage.place import database_place

        return database_place(self.settings.storage.path, self.settings.storage.url)

    @property
    def settings(self) -> Settings:
        from fallback.config import load
        from fallback.core.errors import ConfigError

        if self._settings is None:
            try:
                self._settings = load(self._config, os.environ)
            except ConfigError as error:
                fail(str(error))
        return self._settings

    def _stored(self, receipt: str) -> str:
        from fallback.storage.errors import StorageError
        from fallback.storage.keys import RECEIPT_TYPE

        try:
            entry = self.ledger().find(receipt)
            if entry is None:
                fail(f"there is no receipt {receipt!r}, neither a file nor in the database")
            return self.keyring().sign(entry.entry, RECEIPT_TYPE)
        except StorageError as error:
            fail(str(error))


def _verify_one(found: _Finder, receipt: str, answer: Path | None) -> None:
    from fallback.storage.keys import Unverified
    from fallback.storage.verification import check_answer, check_receipt

    try:
        link = check_receipt(found.token(receipt), found.keys())
    except Unverified as error:
        fail(f"{receipt} is NOT verified: {error}.")
    assert link.receipt is not None
    for line in told(link):
        typer.echo(line)
    if answer is None:
        return
    if (why := check_answer(link.receipt, _bytes(answer))) is not None:
        fail(f"{answer} is NOT the answer of {link.receipt.id}: {why}.")
    typer.echo(f"{answer} is the answer of this receipt.")


def _verify_chain(found: _Finder) -> None:
    from fallback.storage.errors import StorageError
    from fallback.storage.verification import check_chain

    try:
        keys = found.keys()
        with found.ledger().snapshot() as (entries, checkpoints):
            whole = check_chain(entries, checkpoints, keys)
    except StorageError as error:
        fail(str(error))
    for problem in whole.problems:
        typer.echo(f"NOT as it was: {problem}.", err=True)
    typer.echo(
        f"{whole.entries} entries, from {whole.first} to {whole.last}, "
        f"{whole.checkpoints} signed checkpoints; {whole.lost} receipts could not be kept."
    )
    if whole.problems:
        raise typer.Exit(1)
    typer.echo("The chain is whole: nothing was changed, put in or taken out.")


def told(link: Link) -> list[str]:
    """A receipt for a person."""
    from fallback.core.times import utc

    receipt = link.receipt
    assert receipt is not None
    lines = [
        f"{receipt.id} is verified: entry {link.seq} of the chain, by {receipt.software}",
        f"  when      {utc(receipt.started_us / 1e6)}",
        f"  asked     {receipt.method} {receipt.path}"
        + (f" for {receipt.requested_model}" if receipt.requested_model else ""),
        f"  answered  {_by_whom(receipt)}",
    ]
    if receipt.tier not in ("cloud", None):
        outage = f", outage {receipt.outage}" if receipt.outage else ""
        lines.append(f"  because   {receipt.reason}{outage}")
    for tried in receipt.attempts:
        status = "" if tried.status is None else f" {tried.status}"
        seconds = tried.duration_us / 1e6
        lines.append(f"  tried     {tried.upstream}:{status} {tried.outcome}, {seconds:.2f} s")
    if receipt.cut:
        cuts = ", ".join(f"{cut.count} {cut.what} ({cut.tokens} tokens)" for cut in receipt.cut)
        lines.append(f"  cut       {cuts}")
    return lines + [
        f"  from character {part.from_char} on: {part.model or '?'} ({part.tier})"
        for part in receipt.segments
    ]


def _by_whom(receipt: Receipt) -> str:
    if receipt.ended == "killed":
        return "perhaps: the service was killed before it could know"
    model = receipt.served_model
    who = {"cloud": receipt.upstream, "alternate": receipt.upstream, "none": "nobody"}.get(
        receipt.tier or "", receipt.tier
    )
    named = ""
    if model is not None:
        kind = f" {model.quantization}" if model.quantization else ""
        sha256 = f", file SHA-256 {model.sha256}" if model.sha256 else ""
        named = f": {model.name}{kind}{sha256}"
    seconds = (receipt.duration_us or 0) / 1e6
    status = "no answer" if receipt.status is None else str(receipt.status)
    return f"by {who}{named}; {status}, {receipt.ended}, {seconds:.2f} s"


def _token_in(path: Path) -> str:
    text = _bytes(path).decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return text
    found = _json(path).get("jws")
    if not isinstance(found, str):
        fail(f"there is no signed receipt in {path}: its member jws is missing")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(path))
    except ValueError as error:
        fail(f"{path} is no JSON: {error}")
    if not isinstance(found, dict):
        fail(f"{path} is no JSON object")
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
