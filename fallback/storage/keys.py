"""The keys that receipts are signed with: Ed25519, one file each, the newest signs.

A key's id is its thumbprint (RFC 7638). An old key stays in its folder, so that what it signed can
be verified; `kept` are its public halves as a JWK Set (RFC 7517). Signatures are JWS in compact
form (RFC 7515) with the algorithm `Ed25519` (RFC 9864).

Sources: the RFCs, and https://jose.authlib.org (joserfc).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fallback.storage.errors import StorageError

ALGORITHM = "Ed25519"
RECEIPT_TYPE = "fallback-receipt+jws"
CHECKPOINT_TYPE = "fallback-checkpoint+jws"


class Unverified(Exception):
    """A signature that does not hold, and why, in a sentence."""


class Keyring:
    """The keys in a folder, which only their owner may read. A key is made when the first is
    needed. Another process may add one: the newest is looked up each time it matters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen_ns = -1
        self._keys: list[OKPKey] = []

    def __repr__(self) -> str:
        return f"<Keyring {self._folder} keys={len(self._keys)}>"

    def sign(self, payload: bytes, kind: str) -> str:
        """A compact JWS by the newest key, of the type `kind`. Raises `StorageError`."""
        key = self._newest()
        header = {"alg": ALGORITHM, "kid": key.thumbprint(), "typ": kind}
        return jws.serialize_compact(header, payload, key, algorithms=[ALGORITHM])

    def rotate(self) -> str:
        """Make a new key, which signs from now on; its id. Raises `StorageError`."""
        with self._lock:
            key = OKPKey.generate_key("Ed25519")
            made = {**key.as_dict(private=True), "kid": key.thumbprint(), "iat": time.time()}
            self._write(key.thumbprint(), json.dumps(made))
            self._seen_ns = -1
            return key.thumbprint()

    def public(self) -> dict[str, list[dict[str, Any]]]:
        """All keys' public halves as a JWK Set, the newest first. Raises `StorageError`."""
        with self._lock:
            self._look()
            return {"keys": [_public(key) for key in self._keys]}

    def _newest(self) -> OKPKey:
        with self._lock:
            self._look()
            if self._keys:
                return self._keys[0]
        self.rotate()
        with self._lock:
            self._look()
            return self._keys[0]

    def _look(self) -> None:
        """Read the folder, if it has changed."""
        try:
            seen_ns = self._folder.stat().st_mtime_ns if self._folder.is_dir() else 0
            if seen_ns == self._seen_ns:
                return
            found = [json.loads(path.read_text()) for path in self._folder.glob("*.jwk")]
        except (OSError, ValueError) as error:
            raise StorageError(f"the keys in {self._folder} cannot be read: {error}") from error
        found.sort(key=lambda key: float(key.get("iat", 0)), reverse=True)
        self._keys = [OKPKey.import_key(key) for key in found]
        self._seen_ns = seen_ns

    def _write(self, name: str, text: str) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = self._folder / f".{name}.part"
            with open(unfinished, "w", opener=_owner_only, encoding="utf-8") as file:
                file.write(text)
            unfinished.replace(self._folder / f"{name}.jwk")
        except OSError as error:
            raise StorageError(f"a key cannot be kept in {self._folder}: {error}") from error


def verified(token: str, keys: Mapping[str, Any], kind: str) -> bytes:
    """The payload of a compact JWS of that type, signed by one of a JWK Set. Raises
    `Unverified`."""
    try:
        header = jws.extract_compact(token.encode()).headers()
        kid = header.get("kid")
        key = next((each for each in keys["keys"] if each.get("kid") == kid), None)
        if key is None:
            raise Unverified(f"it is signed by the key {kid}, which is not among those given")
        if header.get("typ") != kind:
            raise Unverified(f"it is a {header.get('typ')}, not a {kind}")
        found = jws.deserialize_compact(token, OKPKey.import_key(key), algorithms=[ALGORITHM])
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Unverified("its signature does not hold: it was changed, or is no receipt") from error
    return bytes(found.payload)


def _public(key: OKPKey) -> dict[str, Any]:
    return {
        **key.as_dict(private=False),
        "kid": key.thumbprint(),
        "alg": ALGORITHM,
        "use": "sig",
    }


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
