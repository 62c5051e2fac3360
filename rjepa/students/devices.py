"""Where a student runs: the devices of this machine, what they have free, and the choice among them with its reason.

What a student needs is worked out in `rjepa.students.memory`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import torch

from rjepa.errors import InvalidInputError
from rjepa.students.memory import gigabytes

USABLE: Final = 0.9
"""Share of the free memory that is counted on: allocators waste some, and other processes breathe."""

_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class DeviceMemory:
    """A device of this machine, in bytes. `name` is what torch calls it."""

    name: str
    total: int
    free: int

    def holds(self, needed: int) -> bool:
        """Whether so many bytes fit, with some room left."""
        return needed <= USABLE * self.free


@dataclass(frozen=True)
class DeviceChoice:
    """A device, and why it and no other: a sentence for logs and metadata."""

    device: str
    reason: str
    fits: bool


def present_devices() -> list[DeviceMemory]:
    """The devices here: accelerators first, the CPU last."""
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        devices.append(DeviceMemory(f"cuda:{index}", total, free))
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        devices.append(DeviceMemory("mps", total, max(0, total - torch.mps.current_allocated_memory())))
    return [*devices, _cpu()]


def choose_device(wanted: str, needed: int, devices: Sequence[DeviceMemory]) -> DeviceChoice:
    """The device that was named, or with `auto` the accelerator with the most free memory if `needed` bytes fit there,
    else the CPU.

    Raises:
        InvalidInputError: the named device is not here.
    """
    cpu = devices[-1]
    accelerators = sorted(devices[:-1], key=lambda device: device.free, reverse=True)
    if wanted != "auto":
        named = {device.name: device for device in devices}
        chosen = named.get("cuda:0" if wanted == "cuda" else wanted)
        if chosen is None:
            raise InvalidInputError(
                f"the device {wanted} is not here (there is {', '.join(named)})",
                cure="choose one of these, or auto; a build of torch for the CPU sees no GPU at all",
            )
        return DeviceChoice(wanted, f"{wanted} was asked for; {_against(needed, chosen)}", chosen.holds(needed))
    for device in accelerators:
        if device.holds(needed):
            return DeviceChoice(device.name, f"{device.name}: {_against(needed, device)}", True)
    why = "; ".join(f"it does not fit on {device.name}: {_against(needed, device)}" for device in accelerators)
    reason = f"cpu, because {why or 'there is no accelerator'}; {_against(needed, cpu)}"
    return DeviceChoice("cpu", reason, cpu.holds(needed))


def _against(needed: int, device: DeviceMemory) -> str:
    return f"{gigabytes(needed)} needed, {gigabytes(device.free)} of {gigabytes(device.total)} free on {device.name}"


def _cpu() -> DeviceMemory:
    """The machine's memory, or what the container that we are in may have of it."""
    memory = psutil.virtual_memory()
    limit, used = _cgroup_bytes("memory.max"), _cgroup_bytes("memory.current")
    if limit is None or used is None or limit >= memory.total:
        return DeviceMemory("cpu", memory.total, memory.available)
    return DeviceMemory("cpu", limit, min(memory.available, max(0, limit - used)))


def _cgroup_bytes(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
