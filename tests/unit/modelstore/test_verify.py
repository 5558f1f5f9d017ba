"""A model file is good only if it is, to the byte, what was expected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fallback.modelstore.verify import verify_file

CONTENT = b"GGUF\x03\x00\x00\x00" + bytes(range(256))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    return path


def test_a_whole_file_is_good(model: Path) -> None:
    """The expected hash and size are found good, and the sentence states the hash."""
    found = verify_file(model, sha256=SHA256, size=len(CONTENT))
    assert found.ok
    assert SHA256 in str(found)


def test_a_flipped_bit_is_found(model: Path) -> None:
    """A file of the right size with another content states both hashes."""
    content = bytearray(CONTENT)
    content[100] ^= 1
    model.write_bytes(content)
    found = verify_file(model, sha256=SHA256, size=len(CONTENT))
    assert found.state == "wrong-hash"
    assert SHA256 in str(found)
    assert hashlib.sha256(content).hexdigest() in str(found)


def test_a_truncated_file_is_found_without_reading_it(model: Path) -> None:
    """A short file is refused by its size, before any hashing."""
    model.write_bytes(CONTENT[:-1])
    found = verify_file(model, sha256=SHA256, size=len(CONTENT))
    assert found.state == "wrong-size"
    assert found.actual_sha256 is None
    assert f"expected {len(CONTENT)} bytes, found {len(CONTENT) - 1}" in str(found)


def test_another_kind_of_file_is_found(model: Path) -> None:
    """An HTML page saved under the model's name is not taken for a model."""
    model.write_bytes(b"<html>sign in</html>")
    assert verify_file(model, sha256=SHA256).state == "not-gguf"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named, not raised."""
    path = tmp_path / "model.gguf"
    found = verify_file(path, sha256=SHA256)
    assert found.state == "missing"
    assert str(path) in str(found)


def test_without_a_record_nothing_is_promised(model: Path) -> None:
    """A GGUF file of which no hash is known is not called good, but its hash is told."""
    found = verify_file(model, sha256=None)
    assert not found.ok
    assert found.state == "unrecorded"
    assert found.actual_sha256 == SHA256


def test_progress_ends_at_the_whole(model: Path) -> None:
    """Progress counts up to the size of the file."""
    seen: list[tuple[str, int, int]] = []
    verify_file(model, sha256=SHA256, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("verifying", len(CONTENT), len(CONTENT))
