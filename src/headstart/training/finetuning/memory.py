"""Memory that a training frees is kept for its next step, where the C library would hand it back to the system."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of glibc's mallopt(3), and their defaults.
_TRIM_THRESHOLD, _TRIM_DEFAULT = -1, 128 * 1024
_MMAP_MAX, _MMAP_MAX_DEFAULT = -4, 65536
_NEVER = 2**31 - 1


@contextmanager
def memory_reused() -> Iterator[None]:
    """Within the block, the tensors of one step take the memory of the last one's.

    glibc gives every block of more than 32 MB back to the system when it is freed, which must then clear each page
    anew: the activations of early stages are such blocks, in every step. Other C libraries are left as they are.
    This holds for the whole process, all threads. Afterwards glibc's defaults are back, whatever was set before, and
    what is free is returned; so of blocks that lie in one another the first to end ends it for all.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _MMAP_MAX_DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        library.malloc_trim(0)
