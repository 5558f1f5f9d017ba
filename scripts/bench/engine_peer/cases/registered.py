"""All cases. Adding one is adding a module beside this and a line in `CASES`."""

from engine_peer.cases import (
    beside,
    claude_code,
    crowded,
    decode,
    depth,
    first_token,
    lookup,
    structured,
)
from engine_peer.cases.base import Case

CASES: tuple[Case, ...] = (
    decode.CASE,
    depth.CASE,
    first_token.CASE,
    beside.CASE,
    crowded.CASE,
    structured.CASE,
    lookup.CASE,
    claude_code.CASE,
)
