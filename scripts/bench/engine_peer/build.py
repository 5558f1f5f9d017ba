"""llama-server from the source of the installed llama-cpp-python: found, or built once and kept.

It lies outside the tree, under a name that differs wherever the program may: another version,
CPU, compiler or recipe is another build. The user's own CMAKE_ARGS count (a CUDA build of the
peer beside a CUDA build of the bindings). An interrupted build goes on where it stopped.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "scripts" / "start"))

import llama_wheel  # noqa: E402  (the set-up is no package; it stands on its own)
from steps import locked, pip, run  # noqa: E402

PYTHON = ROOT / ".venv" / "bin" / "python"
RECIPE = Path(__file__).with_name("llama-server.cmake")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
)


def llama_server() -> Path:
    """The program, built where it is missing (a quarter of an hour on two cores).

    Raises `SetupFailed` of the set-up's own, with the end of the compiler's output.
    """
    folder = home()
    program = folder / "build" / "bin" / "llama-server"
    if (folder / "finished").exists():
        return program
    llama_wheel.require_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "llama-server is being built by another run; waiting for it"):
        if not (folder / "finished").exists():
            _build(folder)
            (folder / "finished").touch()
    return program


def home() -> Path:
    """Where this machine's build of the locked version lies."""
    facts = {"options": OPTIONS, "recipe": RECIPE.read_text(), **_machine()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    name = f"{llama_wheel.locked_version()}-{platform.machine()}-{digest[:12]}"
    return llama_wheel.cache_folder().parent / "llama-server" / name


def source() -> Path:
    """llama.cpp as it was unpacked for the build: templates, the `gguf` package."""
    (unpacked,) = (home() / "source").iterdir()
    return unpacked / "vendor" / "llama.cpp"


def _machine() -> Mapping[str, object]:
    variables = {name: os.environ.get(name, "") for name in llama_wheel.BUILD_VARIABLES}
    return {"cpu": llama_wheel.cpu(), "libc": platform.libc_ver(), "build": variables}


def _build(folder: Path) -> None:
    llama_wheel.unpacked_source(PYTHON, folder, log=folder / "fetch.log")
    build, jobs = folder / "build", llama_wheel.parallel_jobs()
    environment = llama_wheel.build_environment(PYTHON, build, jobs)
    tools = pip(
        PYTHON, "install", "--no-deps", "--require-hashes", "-r", llama_wheel.HERE / "build.lock"
    )
    run(tools, title="looking for cmake and ninja", log=folder / "tools.log", status=lambda _: None)
    own = os.environ.get("CMAKE_ARGS", "").split()
    # Its text tells builds apart (`home`), not where this checkout lies.
    recipe = f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={RECIPE}"
    run(
        ["cmake", "-S", str(source()), "-B", str(build), *OPTIONS, recipe, *own],
        title="configuring llama-server",
        log=folder / "configure.log",
        status=lambda _: None,
        env=environment,
    )
    run(
        ["cmake", "--build", str(build), "--parallel", str(jobs), "--target", "llama-server"],
        title=f"building llama-server, once: about {30 // jobs} min on {jobs} cores",
        log=folder / "build.log",
        status=llama_wheel.compiled_of,
        env=environment,
    )


if __name__ == "__main__":
    print(llama_server())
