"""Receipts by themselves: signatures, and the answers that they are of."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ledger_lines import receipt

from fallback.core.receipt import GENESIS, canonical, entry
from fallback.storage.errors import StorageError
from fallback.storage.keys import CHECKPOINT_TYPE, RECEIPT_TYPE, Keyring, Unverified
from fallback.storage.verification import check_answer, check_receipt


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


def signed(keys: Keyring, kind: str = RECEIPT_TYPE) -> str:
    return keys.sign(entry(1, GENESIS, "receipt", canonical(receipt(1))), kind)


def test_a_receipt_is_verified(keys: Keyring) -> None:
    """By the public keys alone."""
    link = check_receipt(signed(keys) + "\n", keys.public())
    assert link.receipt == receipt(1)
    assert (link.seq, link.previous) == (1, GENESIS)


def test_a_receipt_that_was_changed_is_not(keys: Keyring) -> None:
    """One character of what is signed, or of the signature."""
    header, payload, signature = signed(keys).split(".")
    changed = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed["receipt"]["tier"] = "local"
    other = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    turned = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    for token in (f"{header}.{other}.{signature}", f"{header}.{payload}.{turned}", "nonsense", ""):
        with pytest.raises(Unverified, match="does not hold"):
            check_receipt(token, keys.public())


def test_a_signature_for_something_else_is_none(keys: Keyring, tmp_path: Path) -> None:
    """A checkpoint is no receipt, and another's key is not ours."""
    with pytest.raises(Unverified, match="it is a fallback-checkpoint"):
        check_receipt(signed(keys, CHECKPOINT_TYPE), keys.public())
    stranger = Keyring(tmp_path / "stranger")
    with pytest.raises(Unverified, match="not among those given"):
        check_receipt(signed(stranger), keys.public())
    with pytest.raises(Unverified, match="no receipt"):
        check_receipt(keys.sign(b"{}", RECEIPT_TYPE), keys.public())


@pytest.mark.parametrize(
    "content", [b"the whole body: Hello.", b"Hello.", b"Hello.\n", b"Hello.\r\n"]
)
def test_an_answer_is_known(content: bytes) -> None:
    """As it was sent, or its text alone, as an editor leaves it."""
    assert check_answer(receipt(1), content) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Hallo.", "as many characters"),
        (b"Hello", "they have 5 characters, and the text of the answer has 6"),
        (b"", "they have 0 characters"),
        (b"\xff\xfe", "they have 2 characters"),
    ],
)
def test_another_answer_is_not(content: bytes, why: str) -> None:
    """One character is enough."""
    assert why in (check_answer(receipt(1), content) or "")


def test_keys_are_for_their_owner_alone(keys: Keyring, tmp_path: Path) -> None:
    """And the public half says nothing of the private one."""
    keys.rotate()
    (path,) = (tmp_path / "keys").glob("*.jwk")
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    assert "d" in json.loads(path.read_text())
    assert "d" not in keys.public()["keys"][0]


def test_another_process_s_key_is_seen(keys: Keyring, tmp_path: Path) -> None:
    """`fallback keys rotate` need not tell the running service."""
    first = signed(keys)
    kid = Keyring(tmp_path / "keys").rotate()
    assert json.loads(base64.urlsafe_b64decode(signed(keys).split(".")[0] + "=="))["kid"] == kid
    assert check_receipt(first, keys.public()).seq == 1


def test_a_key_that_cannot_be_read_is_told(keys: Keyring, tmp_path: Path) -> None:
    """With the folder's name."""
    keys.rotate()
    (tmp_path / "keys" / "broken.jwk").write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        Keyring(tmp_path / "keys").public()
