"""All faults by name. A new one needs a line in its own file's tuple, and one in `expected`."""

from __future__ import annotations

from collections.abc import Mapping

from support.fault import Fault
from support.http_faults import HTTP
from support.local_faults import LOCAL
from support.network_faults import NETWORK
from support.semantic_faults import SEMANTICS
from support.stream_faults import STREAMS

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*NETWORK, *HTTP, *STREAMS, *SEMANTICS, *LOCAL)
}
