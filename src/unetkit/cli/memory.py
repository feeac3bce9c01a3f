"""How a process that trains on a CPU takes its memory."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # of torch
CHOSEN_BY_USER = ("GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD")  # what their names begin with


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, in huge pages where it can; of use with glibc alone.

    A step frees its activations, and the next one takes as much again. glibc gives large blocks back to the system,
    which clears each page of 4 KiB anew when it is touched: an eighth to a quarter of a step (docs/performance.md).
    To be called before torch is imported. Whoever has chosen an allocator or its settings in the environment keeps
    them.
    """
    if sys.platform != "linux" or any(name.startswith(CHOSEN_BY_USER) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # which musl lacks
    if mallopt is not None:
        os.environ.setdefault(HUGE_PAGES, "1")  # torch reads it at its first tensor
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)
