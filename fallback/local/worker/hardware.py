"""What a machine has, as far as it matters to a model: facts. Pure; `looking.py` finds them out."""

from __future__ import annotations

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU that llama.cpp can use. Sizes in bytes; an integrated one shares the machine's."""

    name: str
    description: str
    free_bytes: int
    total_bytes: int
    integrated: bool = False


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """`features` is what llama.cpp says of its own build and of the processor. `cores` are
    physical ones that this process may use, `logical_cores` their hardware threads."""

    cpu: str
    features: str
    cores: int
    logical_cores: int
    memory_bytes: int
    free_bytes: int
    devices: tuple[Device, ...] = ()

    @property
    def identity(self) -> str:
        """What a measurement is true for: the same machine has it after a restart."""
        gpus = ", ".join(f"{device.description} {device.total_bytes}" for device in self.devices)
        return f"{self.cpu}; {self.cores}/{self.logical_cores} cores; {gpus}; {self.features}"
