"""What an error of the operating system's means for a connection."""

from __future__ import annotations

import errno

from fallback.core.outcome import Failure

_BY_ERRNO = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ENETUNREACH: Failure.NO_ROUTE,
    errno.EHOSTUNREACH: Failure.NO_ROUTE,
    errno.ETIMEDOUT: Failure.CONNECT_TIMEOUT,
    errno.ECONNRESET: Failure.RESET,
    errno.EPIPE: Failure.RESET,
}


def from_os_error(error: OSError) -> Failure:
    """A reset, where nothing better is known."""
    return _BY_ERRNO.get(error.errno or 0, Failure.RESET)
