"""Gives memory that is freed already back to the system, where the C library keeps it."""

import contextlib
import ctypes


def give_back() -> None:
    """For the time between two phases that need much: glibc keeps half a gigabyte of the first.

    Nothing happens with another C library, which has no ``malloc_trim``.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
