"""Faults below HTTP: names, routes, connections, certificates."""

from __future__ import annotations

from standin import faults

from support.fault import Fault, always

NETWORK = (
    Fault(name="nxdomain", place="nxdomain"),
    Fault(name="servfail", place="servfail"),
    Fault(name="dns-black-hole", place="dns-black-hole"),
    Fault(name="refused", place="refused"),
    Fault(name="syn-dropped", place="syn-dropped"),
    Fault(name="no-route", place="no-route"),
    Fault(name="bad-certificate", place="bad-certificate"),
    Fault(name="expired-certificate", place="expired-certificate"),
    Fault(name="tls-stall", place="tls-stall"),
    Fault(
        name="reset-before-headers",
        script=always(faults.reset_before_headers),
        everywhere=True,
    ),
    Fault(
        name="close-before-headers",
        script=always(faults.close_before_headers),
        everywhere=True,
    ),
)
