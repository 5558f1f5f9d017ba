"""A llama-cpp-python that runs on this machine: found, or built once and kept.

The first that can be imported wins: what .venv has, the file or folder that
FALLBACK_LLAMA_WHEEL names, our cache, a prebuilt wheel of the user's package index, and last
the sdist (its hash checked), compiled for this CPU. Only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from steps import SetupFailed, locked, pip, run, say, succeeds

HERE = Path(__file__).resolve().parent
LOCK = HERE / "llama-cpp.lock"
RECIPE = HERE / "llama-cpp.cmake"
BUILD_CPU_S = 210  # measured: GCC 12, x86-64 with AVX2
COMPILER_BYTES = 1 << 30  # the hungriest translation unit, with room
BUILD_VARIABLES = ("CMAKE_ARGS", "CC", "CXX", "CFLAGS", "CXXFLAGS")


def provide(python: Path, *, log: Path) -> None:
    """Make `llama_cpp` importable by `python`. Raises `SetupFailed`."""
    version = locked_version()
    if works(python, version):
        return
    cache = cache_folder() / cache_key(version)
    sources: tuple[Callable[[], Path | None], ...] = (
        lambda: named_wheel(version),
        lambda: newest_wheel(cache),
        lambda: prebuilt_wheel(python, version, cache / "prebuilt"),
    )
    for source in sources:
        wheel = source()
        if wheel is not None and install(python, version, wheel):
            return
    require_compiler()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache, "llama-cpp-python is being built by another set-up; waiting for it"):
        wheel = newest_wheel(cache) or build(python, cache, log=log)
    if not install(python, version, wheel):
        raise SetupFailed(f"{wheel} was built here but cannot be imported; see {log}")


def locked_version() -> str:
    """The version that llama-cpp.lock pins."""
    found = re.search(r"^llama-cpp-python==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def works(python: Path, version: str) -> bool:
    """Whether that very version can be imported; a wheel for another CPU dies here."""
    probe = f"import sys, llama_cpp; sys.exit(llama_cpp.__version__ != {version!r})"
    return succeeds([python, "-c", probe])


def install(python: Path, version: str, wheel: Path) -> bool:
    """Install the wheel; False, with a line that says so, if it does not work here."""
    say(f"installing {wheel.name} from {wheel.parent}")
    command = pip(python, "install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    if succeeds(command) and works(python, version):
        return True
    say(f"{wheel} does not work here; looking for another")
    return False


def named_wheel(version: str) -> Path | None:
    """The wheel of that version in what FALLBACK_LLAMA_WHEEL names. Raises `SetupFailed`."""
    named = os.environ.get("FALLBACK_LLAMA_WHEEL")
    if not named:
        return None
    place = Path(named).expanduser().resolve()
    wheel = place if place.is_file() else newest_wheel(place, f"llama_cpp_python-{version}-*.whl")
    if wheel is None:
        raise SetupFailed(
            f"FALLBACK_LLAMA_WHEEL={named} holds no llama_cpp_python-{version}-*.whl.\n"
            "Put one there, or unset the variable to have it found or built."
        )
    return wheel


def newest_wheel(folder: Path, pattern: str = "*.whl") -> Path | None:
    """The newest wheel in a folder that may not exist."""
    return max(folder.glob(pattern), key=lambda wheel: wheel.stat().st_mtime, default=None)


def prebuilt_wheel(python: Path, version: str, folder: Path) -> Path | None:
    """A wheel from wherever the user's pip is configured to look."""
    options = ("--retries=1", "--no-deps", "--only-binary=:all:", "--dest", folder)
    found = succeeds(pip(python, "download", *options, f"llama-cpp-python=={version}"))
    return newest_wheel(folder) if found else None


def cache_folder() -> Path:
    """Where wheels built here are kept, beyond any one checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fallback" / "wheels"


def cache_key(version: str) -> str:
    """A folder name that differs wherever the wheel may: `-march=native` must not travel."""
    facts = {
        "cpu": cpu(),
        "libc": platform.libc_ver(),
        "recipe": RECIPE.read_text(),
        "build": {name: os.environ.get(name, "") for name in BUILD_VARIABLES},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"llama-cpp-python-{version}-{sysconfig.get_platform()}-{digest[:12]}"


def cpu() -> Mapping[str, str]:
    """What the compiler looks at for `-march=native`."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        names = r"model name|flags|Features|CPU implementer|CPU part|isa|uarch"
        found = re.findall(rf"^({names})\s*: (.*)$", described.read_text(), re.MULTILINE)
        return dict(sorted(set(found)))
    brand = subprocess.check_output(("sysctl", "-n", "machdep.cpu.brand_string"), text=True)
    return {"machine": platform.machine(), "brand": brand.strip()}


def require_compiler() -> None:
    """Raise `SetupFailed`, saying what to install, if there is no C and C++ compiler."""
    for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++"))):
        chosen = os.environ.get(variable)
        if not any(shutil.which(name) for name in ((chosen.split()[0],) if chosen else names)):
            raise SetupFailed(
                f"llama.cpp must be compiled here, and no {chosen or ' or '.join(names)} is on "
                "the PATH.\n"
                "  Debian, Ubuntu:  sudo apt-get install build-essential\n"
                "  Fedora:          sudo dnf install gcc gcc-c++\n"
                "  macOS:           xcode-select --install\n"
                "Then run the same command again; it goes on from here. With a wheel from\n"
                "elsewhere no compiler is needed: FALLBACK_LLAMA_WHEEL=/path/to/the.whl"
            )


def build(python: Path, cache: Path, *, log: Path) -> Path:
    """Compile the locked sdist and keep the wheel; an interrupted build goes on."""
    work = cache / "build"
    source = unpacked_source(python, work, log=log)
    alone = ("--no-deps", "--no-build-isolation", "--no-cache-dir")
    jobs = parallel_jobs()
    minutes = math.ceil(BUILD_CPU_S / jobs / 60)
    cores = f"{jobs} core{'s' if jobs > 1 else ''}"
    run(
        pip(python, "wheel", "--verbose", *alone, "--wheel-dir", work / "wheel", source),
        title=f"building llama.cpp for this CPU, once: about {minutes} min on {cores}",
        log=log,
        status=compiled_of,
        env=build_environment(python, work / "cmake", jobs),
    )
    built = newest_wheel(work / "wheel")
    assert built is not None
    kept = built.replace(cache / built.name)
    shutil.rmtree(work)
    return kept


def unpacked_source(python: Path, work: Path, *, log: Path) -> Path:
    """The sdist, fetched by pip, which checks its hash, and unpacked."""
    source = work / "source"
    options = ("--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes")
    if not source.exists():
        run(
            pip(python, "download", *options, "-r", LOCK, "--dest", work / "sdist"),
            title="fetching the source of llama-cpp-python (77 MB)",
            log=log,
            status=lambda line: line.strip() or None,
        )
        (archive,) = (work / "sdist").glob("*.tar.gz")
        partial = work / "source.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.unpack_archive(archive, partial)
        partial.rename(source)
    (folder,) = source.iterdir()
    return folder


def parallel_jobs() -> int:
    """As many compilers as there are usable cores and memory for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores or 1, memory // COMPILER_BYTES))


def build_environment(python: Path, folder: Path, jobs: int) -> dict[str, str]:
    """The environment of the build; the user's own CMAKE_ARGS come last and so prevail."""
    ours = f"-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama_cpp_INCLUDE={RECIPE}"
    return {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "CMAKE_ARGS": f"{ours} {os.environ.get('CMAKE_ARGS', '')}".strip(),
        "CMAKE_GENERATOR": os.environ.get("CMAKE_GENERATOR", "Ninja"),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
        "SKBUILD_BUILD_DIR": str(folder),
    }


def compiled_of(line: str) -> str | None:
    """How far the compiler is, out of a line of ninja's output."""
    found = re.search(r"\[(\d+)/(\d+)\]", line)
    return f"compiled {found[1]} of {found[2]} files" if found else None
