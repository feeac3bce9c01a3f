"""The memory of a machine that is free, and a limit on what this process may take of it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
UNKNOWN_RAM = 4 * 2**30  # bytes; half of 8 GiB


def free_ram() -> int:
    """Return the available bytes on Linux, elsewhere half of the installed ones, or a guess where these are unknown."""
    if MEMINFO.exists():
        return _kibibytes(MEMINFO, "MemAvailable") * 1024
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # not on Windows
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return UNKNOWN_RAM


@contextmanager
def limited_to(more: int) -> Iterator[None]:
    """Let allocations fail in this block once the process has taken `more` bytes more than before it (Linux only).

    Without a limit Linux grants what it does not have, and kills the process when it uses it.
    """
    if sys.platform != "linux":
        yield
        return
    import resource  # Windows has none

    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _kibibytes(Path("/proc/self/status"), "VmData") * 1024 + more
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def _kibibytes(file: Path, name: str) -> int:
    lines = file.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
