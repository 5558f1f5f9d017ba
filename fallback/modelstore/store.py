"""Where model files lie, and what is on record about them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

import fallback
from fallback.core.errors import ConfigError
from fallback.modelstore.catalog import CATALOG

_QUANTIZATION = re.compile(
    r"(?:^|[.-])((?:I?Q\d\w*|T?Q\d_\d|MXFP4\w*|BF16|F16|F32))$", re.IGNORECASE
)


class LocatedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The file that a model's name stands for; it need not be there yet.

    `sha256` is None if nothing is on record, `quantization` if the name does not tell.
    """

    name: str
    path: Path
    sha256: str | None
    quantization: str | None


def folder(models_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where models live: `models_dir` if given, `models/` of the checkout that this package is
    run from, else the user's data folder."""
    if models_dir is not None:
        return Path(models_dir).expanduser().absolute()
    checkout = Path(fallback.__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "models"
    import platformdirs

    return platformdirs.user_data_path("fallback") / "models"


def locate(model: str, *, models_dir: str | os.PathLike[str] | None = None) -> LocatedModel:
    """The file for a catalog id, or for the path of a GGUF file; a path without a folder may
    also name a file of the models folder.

    Raises `ConfigError` if the name is neither.
    """
    store = folder(models_dir)
    for entry in CATALOG:
        if entry.id == model:
            return LocatedModel(
                name=entry.id,
                path=store / entry.file_name,
                sha256=entry.sha256,
                quantization=entry.quantization,
            )
    if not model.endswith(".gguf"):
        known = ", ".join(entry.id for entry in CATALOG)
        raise ConfigError(
            f"local.model = {model!r} is not valid: allowed are the path of a .gguf file and the "
            f"ids of the catalog: {known}."
        )
    path = Path(model).expanduser()
    if not path.is_absolute() and (store / path).is_file():
        path = store / path
    return of_file(path)


def of_file(path: Path) -> LocatedModel:
    """What is known of a file: by the catalog, by the record that `pull` left, by its name."""
    for entry in CATALOG:
        if entry.file_name == path.name:
            return LocatedModel(
                name=entry.id, path=path, sha256=entry.sha256, quantization=entry.quantization
            )
    quantization = _QUANTIZATION.search(path.stem)
    return LocatedModel(
        name=path.stem,
        path=path.absolute(),
        sha256=recorded_sha256(path),
        quantization=quantization[1].upper() if quantization else None,
    )


def record_path(path: Path) -> Path:
    """The file beside a model that holds its hash, in the format of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


def recorded_sha256(path: Path) -> str | None:
    """The hash on record beside a model, if there is one."""
    record = record_path(path)
    if not record.is_file():
        return None
    found = re.match(r"([0-9a-f]{64})\b", record.read_text())
    return found[1] if found else None


def record_sha256(path: Path, sha256: str) -> None:
    """Put the hash on record beside a model."""
    record_path(path).write_text(f"{sha256}  {path.name}\n")
