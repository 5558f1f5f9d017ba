"""Make .venv: the locked packages, a llama-cpp-python for this machine, fallback itself.

Run by scripts/setup. Rules: only the standard library; a set-up that was interrupted goes on
where it stopped; the stamp is written last, so that it never promises what is not there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import sys
import tomllib
import venv
from pathlib import Path

import llama_wheel
from steps import SetupFailed, locked, pip, run, step, succeeds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BUILD_LOCK = HERE / "build.lock"


def main() -> int:
    """Set up, or with --check only say (by the exit status) whether there is nothing to do."""
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    options = parser.parse_args()
    if options.check:
        return 0 if is_current(dev=options.dev) else 1
    try:
        with locked(HERE, "another set-up of this checkout is running; waiting for it"):
            set_up(dev=options.dev)
    except (SetupFailed, KeyboardInterrupt) as error:
        reason = str(error) or "interrupted; the next run goes on from here"
        print(f"\nfallback: {reason}", file=sys.stderr)
        return 1
    return 0


def set_up(*, dev: bool) -> None:
    """Bring .venv up to date. Raises `SetupFailed`."""
    if is_current(dev=dev):
        return
    make_venv()
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    install_locked(lock)
    llama_wheel.provide(PYTHON, log=VENV / "llama-cpp.log")
    install_fallback()
    stamp_file(dev=dev).write_text(stamp(dev=dev))


def stamp_file(*, dev: bool) -> Path:
    """Where the stamp of a finished set-up lies."""
    return VENV / ("set-up-dev.stamp" if dev else "set-up.stamp")


def is_current(*, dev: bool) -> bool:
    """Whether a finished set-up has left exactly what would be made now.

    What the tests need includes all that the service needs.
    """
    wanted = (True,) if dev else (False, True)
    return any(_matches(stamp_file(dev=kind), stamp(dev=kind)) for kind in wanted)


def _matches(file: Path, expected: str) -> bool:
    return file.exists() and file.read_text() == expected


def stamp(*, dev: bool) -> str:
    """A digest of all that decides what is in .venv, its own place and Python included."""
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    digest = hashlib.sha256(str(VENV).encode())
    for file in (lock, BUILD_LOCK, llama_wheel.LOCK, VENV / "pyvenv.cfg"):
        digest.update(file.read_bytes() if file.exists() else b"")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaging = {name: pyproject.get(name) for name in ("build-system", "project")}
    digest.update(json.dumps(packaging, sort_keys=True).encode())
    return digest.hexdigest()


def make_venv() -> None:
    """Create .venv, unless a working one is there that was made in this place."""
    if venv_works():
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupFailed(
            f"Python {version} at {sys.executable} has no venv module.\n"
            f"  Debian, Ubuntu:  sudo apt-get install python{version}-venv\n"
            "Then run the same command again."
        )
    with step(f"making .venv with Python {sys.version.split()[0]}"):
        venv.EnvBuilder(with_pip=True, clear=True, symlinks=True).create(VENV)


def venv_works() -> bool:
    """Whether .venv has a new enough Python and a pip, and was not moved here from elsewhere."""
    script = VENV / "bin" / "pip"
    if not script.exists() or str(PYTHON) not in script.read_text():
        return False
    return succeeds([PYTHON, "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"])


def install_locked(lock: Path) -> None:
    """Install what the locks name, nothing else, each file checked by its hash."""
    run(
        pip(PYTHON, "install", "--no-deps", "--require-hashes", "-r", lock, "-r", BUILD_LOCK),
        title=f"installing the packages of {lock.name}",
        log=VENV / "packages.log",
        status=package_of,
    )


def package_of(line: str) -> str | None:
    """The package that a line of pip's output is about."""
    found = re.match(r"(?:Collecting|Requirement already satisfied:) (\S+)", line)
    if found:
        return found[1]
    return "unpacking" if line.startswith("Installing collected packages") else None


def install_fallback() -> None:
    """Install this checkout itself, editable."""
    run(
        pip(PYTHON, "install", "--no-deps", "--no-build-isolation", "--editable", ROOT),
        title="installing fallback",
        log=VENV / "fallback.log",
        status=lambda _line: None,
    )


if __name__ == "__main__":
    sys.exit(main())
