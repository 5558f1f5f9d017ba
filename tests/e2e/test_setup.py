"""Setting up a checkout says plainly what is missing, and does nothing when nothing is to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a set-up reads, without an environment."""
    copy = tmp_path / "checkout"
    unneeded = shutil.ignore_patterns("bench", "__pycache__")
    shutil.copytree(ROOT / "scripts", copy / "scripts", ignore=unneeded)
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH in which there is no Python and no compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    return folder


def in_start(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code beside the modules of the set-up."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts" / "start",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", ["setup", "serve", "test"])
def test_a_missing_python_is_explained(checkout: Path, bare_path: Path, script: str) -> None:
    """Without Python each command ends at once with what to install."""
    done = subprocess.run(
        [bare_path / "bash", checkout / "scripts" / script],
        env={"PATH": str(bare_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr


def test_a_missing_compiler_is_explained(bare_path: Path) -> None:
    """Where llama.cpp must be compiled and cannot be, the packages to install are named."""
    code = "import llama_wheel; llama_wheel.require_compiler()"
    done = in_start(code, PATH=str(bare_path))
    assert done.returncode == 1
    assert "sudo apt-get install build-essential" in done.stderr
    assert "FALLBACK_LLAMA_WHEEL" in done.stderr


def test_an_empty_wheel_folder_is_explained(tmp_path: Path) -> None:
    """A FALLBACK_LLAMA_WHEEL without the locked version names the file it should hold."""
    code = "import llama_wheel as w; w.named_wheel(w.locked_version())"
    done = in_start(code, FALLBACK_LLAMA_WHEEL=str(tmp_path))
    assert done.returncode == 1
    assert "holds no llama_cpp_python-0.3.36-*.whl" in done.stderr


def test_a_wheel_is_kept_apart_by_how_it_was_built() -> None:
    """The cache has one folder for each way to build, and the same one each time."""
    code = "import llama_wheel as w; print(w.cache_key('1'))"
    plain, again = in_start(code).stdout, in_start(code).stdout
    assert plain == again != ""
    assert in_start(code, CMAKE_ARGS="-DGGML_CUDA=ON").stdout != plain


def test_the_stamp_follows_the_locks(checkout: Path) -> None:
    """A finished set-up is current until a lock or the project's requirements change."""
    code = (
        "import environment as e\n"
        "e.VENV.mkdir()\n"
        "stamped = e.stamp_file(dev=True)\n"
        "stamped.write_text(e.stamp(dev=True))\n"
        "assert e.is_current(dev=True) and e.is_current(dev=False)\n"
        "(e.ROOT / 'requirements-dev.lock').write_text('other')\n"
        "assert not e.is_current(dev=True)\n"
    )
    start = checkout / "scripts" / "start"
    subprocess.run([sys.executable, "-c", code], cwd=start, check=True)
