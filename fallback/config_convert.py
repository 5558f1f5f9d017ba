"""Tables of a config file -> frozen structs, and what a wrong value is told.

Every message names the key, the value and what is allowed; a value that may be a secret is left
out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from fallback.core.errors import ConfigError

_AT = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_STEP = re.compile(r"[^.\[\]]+")

_T = TypeVar("_T", bound=msgspec.Struct)


def convert(tree: Any, kind: type[_T], at: str) -> _T:
    """`tree` as a `kind`; `at` is where it stands in the file. Raises `ConfigError`."""
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), tree, kind, at)) from error


def _explain(message: str, tree: Any, kind: type[msgspec.Struct], at: str) -> str:
    found = _AT.match(message)
    what, path = (found["what"], found["path"]) if found else (message, "")
    section = f"{at}.{path}".strip(".")
    if unknown := _UNKNOWN.match(what):
        allowed = ", ".join(_struct_at(kind, path).__struct_fields__)
        where = section or "the file"
        return f"{section}.{unknown['field']} is not a setting. ".lstrip(".") + (
            f"Allowed in {where}: {allowed}."
        )
    if missing := _MISSING.match(what):
        return f"{section}.{missing['field']} is missing."
    value = _value_at(tree, path)
    secret = "key" in path or "@" in str(value)
    shown = "" if value is None or secret else f" = {value!r}"
    return f"{section}{shown} is not valid: {_allowed(kind, path) or what}."


def _value_at(tree: Any, path: str) -> Any:
    """None where the path does not say which: `[...]` is any value of a mapping."""
    if "[...]" in path:
        return None
    for key in _STEP.findall(path):
        if isinstance(tree, list):
            tree = tree[int(key)]
        elif isinstance(tree, Mapping):
            tree = tree.get(key)
        else:
            return None
    return tree


def _struct_at(kind: type[msgspec.Struct], path: str) -> type[msgspec.Struct]:
    for key in path.split(".") if path else ():
        below = get_type_hints(kind).get(key)
        if not (isinstance(below, type) and issubclass(below, msgspec.Struct)):
            break
        kind = below
    return kind


def _allowed(kind: type[msgspec.Struct], path: str) -> str | None:
    """The choices of a key that has a fixed set of them."""
    section, _, key = path.rpartition(".")
    name, index, _ = key.partition("[")
    choices = _choices(get_type_hints(_struct_at(kind, section)).get(name), inside=bool(index))
    return "allowed are " + ", ".join(map(repr, choices)) if choices else None


def _choices(hint: Any, *, inside: bool) -> tuple[Any, ...]:
    """The values of a `Literal`, which may be optional; `inside`: that of a tuple's members."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal and not inside:
        return inner
    if origin is tuple and inside:
        return _choices(inner[0], inside=False)
    if origin in (Union, UnionType):
        return next(filter(None, (_choices(one, inside=inside) for one in inner)), ())
    return ()
