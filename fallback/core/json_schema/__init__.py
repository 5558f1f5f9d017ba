"""JSON Schema as clients write it -> JSON Schema as the constraint engine can keep it. Pure.

llguidance knows a part of JSON Schema 2020-12. This package rewrites the rest, and promises:

- *Kept or narrowed.* Whatever the rewritten schema admits, the client's schema admits too. Some
  keywords are replaced by what means the same (`dependentRequired`, `propertyNames`, `if`), some
  by less than was allowed (an object that lists its properties gets no others; of `oneOf`'s
  options none that another one admits too), so that what is generated is valid in any case.
- *Or told.* Where neither is possible the keyword is dropped and named in `Narrowed.loosened`,
  with its JSON pointer. Nothing is dropped silently but annotations and formats that JSON Schema
  itself does not know (a validator has to ignore those:
  https://json-schema.org/draft/2020-12/json-schema-validation#section-7.2.3).

| keyword | how |
|---|---|
| type, enum, const, anyOf, allOf, $ref in the document | kept |
| properties, required, items, prefixItems, lengths, bounds, multipleOf | kept |
| additionalProperties, patternProperties | kept; silent objects that list properties are closed |
| oneOf, not, if/then/else | options that exclude each other; by types, values, names and bounds |
| dependentRequired, dependentSchemas, dependencies | either the name is missing or they hold |
| propertyNames | patterns of names |
| minProperties, maxProperties | the first optional properties become required, or go |
| uniqueItems | of listed values: sets in their order; otherwise loosened |
| contains, minContains | the first items are such ones; `maxContains` loosened |
| unevaluatedProperties, unevaluatedItems | closed objects and arrays |
| format | as RFC and calendar say; unknown ones are ignored; `regex` loosened |
| pattern | kept; with lookaround or references back loosened |
| remote $ref, $dynamicRef | loosened |

Files: `rewriting` is the walk; `document` finds references and pointers; `choices`, `objects`,
`arrays` and `texts` rewrite keywords; `disjoint` and `denial` are what they reason with. The
source is https://json-schema.org/draft/2020-12 and, for the engine,
https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fallback.core.json_schema.rewriting import Rewriting
from fallback.core.json_schema.scope import Loosened

__all__ = ["Loosened", "Narrowed", "narrowed"]


class Narrowed(msgspec.Struct, frozen=True, kw_only=True):
    """A schema that the engine can keep: all that it admits, the client's schema admits too, but
    for the keywords in `loosened`."""

    schema: dict[str, Any]
    loosened: tuple[Loosened, ...] = ()


def narrowed(schema: Mapping[str, Any]) -> Narrowed:
    """The client's schema rewritten for the engine; the argument is left as it is."""
    rewriting = Rewriting(schema)
    return Narrowed(schema=rewriting.run(), loosened=tuple(rewriting.loosened))


def outline(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of an object's schema just the names and types of its properties, else nothing: for an
    engine that cannot keep the whole."""
    listed = schema.get("properties")
    if not isinstance(listed, dict):
        return {"type": schema["type"]} if "type" in schema else {}
    properties = {
        name: {"type": inner["type"]} if isinstance(inner, dict) and "type" in inner else True
        for name, inner in listed.items()
        if inner is not False
    }
    about = {key: schema[key] for key in ("required", "additionalProperties") if key in schema}
    others = about.get("additionalProperties")
    closed = {} if others is None else {"additionalProperties": others is not False}
    return {"type": "object", "properties": properties, **about, **closed}
