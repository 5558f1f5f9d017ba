"""A model's name stands for one file, and what is on record about it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallback.core.errors import ConfigError
from fallback.modelstore import ModelStoreError, locate
from fallback.modelstore.catalog import CATALOG, DEFAULT_ID, find
from fallback.modelstore.store import folder, record_sha256

SHA256 = "0" * 64


def test_a_catalog_id_is_its_pinned_file(tmp_path: Path) -> None:
    """An id stands for the file of the entry in the models folder, with the pinned hash."""
    located = locate(DEFAULT_ID, models_dir=tmp_path)
    entry = find(DEFAULT_ID)
    assert located.path == tmp_path / entry.file_name
    assert located.sha256 == entry.sha256
    assert located.quantization == "Q4_1"


def test_a_path_is_itself(tmp_path: Path) -> None:
    """A file of one's own has its name and quantization from the file name, and no hash."""
    located = locate(str(tmp_path / "my-model-Q4_K_M.gguf"), models_dir=tmp_path / "elsewhere")
    assert located.path == tmp_path / "my-model-Q4_K_M.gguf"
    assert located.name == "my-model-Q4_K_M"
    assert located.quantization == "Q4_K_M"
    assert located.sha256 is None


def test_a_pulled_file_is_found_with_its_record(tmp_path: Path) -> None:
    """A bare file name means the one in the models folder, with the hash that pull recorded."""
    (tmp_path / "org--repo--m.IQ4_NL.gguf").write_bytes(b"GGUF")
    record_sha256(tmp_path / "org--repo--m.IQ4_NL.gguf", SHA256)
    located = locate("org--repo--m.IQ4_NL.gguf", models_dir=tmp_path)
    assert located.path == tmp_path / "org--repo--m.IQ4_NL.gguf"
    assert located.sha256 == SHA256
    assert located.quantization == "IQ4_NL"


def test_a_name_that_is_neither_names_what_is_allowed() -> None:
    """A typo in local.model is answered with the key, the value and the ids there are."""
    with pytest.raises(ConfigError, match=rf"local\.model = 'smolm'.*{DEFAULT_ID}"):
        locate("smolm")
    with pytest.raises(ModelStoreError, match=rf"'smolm'.*{DEFAULT_ID}"):
        find("smolm")


def test_a_checkout_keeps_its_models_beside_it() -> None:
    """Run from a checkout, models live in its models/ folder."""
    assert folder() == Path(__file__).resolve().parents[3] / "models"


def test_every_entry_is_pinned() -> None:
    """No two entries share an id or a file, and each says what to expect."""
    assert len({entry.id for entry in CATALOG}) == len(CATALOG)
    assert len({entry.file_name for entry in CATALOG}) == len(CATALOG)
    assert all(len(entry.sha256) == 64 and entry.bytes > 0 for entry in CATALOG)
