"""Keep freed memory in the process, which makes training on a CPU faster."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # constants of glibc's malloc.h
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # environment variable of torch
CHOSEN_BY_USER = ("GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD")  # how the names of such variables begin


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, in huge pages if possible; it has an effect with glibc only.

    Each training step frees its activations, and the next one allocates as much again. By default, glibc returns large
    blocks to the system, which clears each page of 4 KiB again when it is touched: 12 to 25 % of the time of a step
    (docs/performance.md). Call this before torch is imported. An allocator, or settings of it, that the user has chosen
    in the environment are kept.
    """
    if sys.platform != "linux" or any(name.startswith(CHOSEN_BY_USER) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        os.environ.setdefault(HUGE_PAGES, "1")  # read by torch at its first tensor
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)
