"""Fetches a model file from a hub that speaks the Hugging Face protocol."""

from __future__ import annotations

import re
from pathlib import Path

from fallback.modelstore.catalog import HubSource, ModelFile
from fallback.modelstore.errors import ModelStoreError
from fallback.modelstore.verify import Progress
from fallback.modelstore.watch import watching

_SPEC = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+):(?P<file>[\w./ -]+\.gguf)(?:@(?P<revision>[\w./-]+))?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_hub_name(name: str) -> bool:
    """Whether a name has the form ORGANISATION/REPOSITORY:FILE.gguf[@REVISION]."""
    return _SPEC.fullmatch(name) is not None


def resolve(name: str, *, endpoint: str | None = None) -> ModelFile:
    """Ask the hub which bytes a name stands for now: the commit, the size, the hash.

    `endpoint` None is the library's own default. Raises `ModelStoreError`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    found = _SPEC.fullmatch(name)
    assert found is not None, name
    repository, file, revision = found["repository"], found["file"], found["revision"]
    try:
        url = hf_hub_url(repository, file, revision=revision, endpoint=endpoint)
        metadata = get_hf_file_metadata(url, endpoint=endpoint)
    except _hub_errors() as error:
        raise _failure(name, error) from error
    if metadata.commit_hash is None or metadata.size is None:
        raise ModelStoreError(f"The hub does not say what {name} is: no commit or no size.")
    if not _SHA256.fullmatch(metadata.etag or ""):
        raise ModelStoreError(
            f"The hub states no SHA-256 for {name}, so it could not be checked. Download the file "
            f'yourself and set local.model to its path and local.sha256 to its "sha256sum".'
        )
    return ModelFile(
        id=name,
        file_name=f"{repository.replace('/', '--')}--{Path(file).name}",
        sha256=str(metadata.etag),
        bytes=metadata.size,
        source=HubSource(repository=repository, file=file, commit=metadata.commit_hash),
    )


def fetch_hub(
    source: HubSource, work: Path, *, size: int, progress: Progress, endpoint: str | None
) -> Path:
    """Download the file of `size` bytes at its commit into `work`. Raises `ModelStoreError`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        with watching(work, size, progress):
            path = hf_hub_download(
                source.repository,
                source.file,
                revision=source.commit,
                local_dir=work,
                endpoint=endpoint,
            )
    except _hub_errors() as error:
        raise _failure(f"{source.repository}:{source.file}", error) from error
    return Path(path)


def _hub_errors() -> tuple[type[Exception], ...]:
    # HTTPError is the base of whichever HTTP client this version of the library uses.
    from huggingface_hub import errors

    transport_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return (transport_error, errors.HFValidationError, errors.FileMetadataError, OSError)


def _failure(name: str, error: Exception) -> ModelStoreError:
    return ModelStoreError(
        f"The hub did not give {name}: {error}\n"
        f"Check the name, the network, and for a gated repository the token (HF_TOKEN)."
    )
