"""Schemas out of a folder: plain ones, or with instances beside them as maskbench has them.

https://github.com/guidance-ai/jsonschemabench (`maskbench/data`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A value that somebody says is valid, or is not."""

    value: Any
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One schema; `group` is what stands before `---` in its file's name."""

    name: str
    group: str
    schema: dict[str, Any]
    instances: tuple[Instance, ...] = ()


def entries(folder: Path, *, every: int = 1, matching: Sequence[str] = ()) -> Iterator[Entry]:
    """Every n-th schema under the folder whose name holds one of `matching`, by name."""
    paths = [
        path
        for path in sorted(folder.rglob("*.json"))
        if not matching or any(part in path.name for part in matching)
    ]
    for path in paths[::every]:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            yield _entry(path, found)


def _entry(path: Path, found: dict[str, Any]) -> Entry:
    group = path.name.partition("---")[0] if "---" in path.name else path.parent.name
    schema = found["schema"] if "tests" in found or "meta" in found else found
    return Entry(
        name=path.stem,
        group=group,
        schema=schema if isinstance(schema, dict) else {"allOf": [schema]},
        instances=tuple(
            Instance(value=test["data"], valid=test["valid"]) for test in found.get("tests", ())
        ),
    )
