"""The machine that will train: its kind and its memory."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
UNKNOWN_RAM = 4 * 2**30  # bytes; half of 8 GiB


@dataclass(frozen=True)
class Machine:
    """A machine that trains.

    Attributes:
        name: Its GPU or CPU in words.
        is_gpu: Whether it trains on a GPU.
        memory: Bytes that training may take, of the GPU or of RAM.
    """

    name: str
    is_gpu: bool
    memory: int

    @classmethod
    def here(cls) -> "Machine":
        """Describe the machine that runs this program."""
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
        threads = torch.get_num_threads()
        return cls(f"a CPU with {threads} thread{'s' * (threads > 1)}", False, _free_ram())


def _free_ram() -> int:
    """Return the available bytes on Linux, elsewhere half of the installed ones, or a guess where these are unknown."""
    if MEMINFO.exists():
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # not on Windows
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return UNKNOWN_RAM
