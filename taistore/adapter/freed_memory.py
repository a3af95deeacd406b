"""Gives memory that is freed back to the system, where the C library would keep it."""

import contextlib
import ctypes

LARGE_BYTES = 8 * 2**20
"""Vectors of a block that is read, weights, gradients: nothing smaller comes to hundreds of MiB."""

KEPT_BYTES = 2 * LARGE_BYTES
"""What may stay free at the end of a heap, as much as glibc itself would settle at."""

_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
_NOT_THERE = (OSError, AttributeError, TypeError)
"""What another C library than glibc raises."""


def keep_large_blocks_apart() -> None:
    """From now on each block of :data:`LARGE_BYTES` is mapped alone, and goes when it is freed.

    glibc begins so at 128 KiB, but goes up to 32 MiB as such blocks are freed; those that come
    later lie in its heaps among small ones that stay, and of what is freed there 250 MiB stayed
    with a training on a million images. Nothing happens with another C library.
    """
    with contextlib.suppress(*_NOT_THERE):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        # With the former set glibc gives all above 128 KiB back at once, and a block of vectors
        # that is read would come from the system page by page: four times what reading it costs.
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """For the time between two phases that need much: many small blocks may have been freed.

    Nothing happens with another C library, which has no ``malloc_trim``.
    """
    with contextlib.suppress(*_NOT_THERE):
        ctypes.CDLL(None).malloc_trim(0)
