"""Whether an error says that memory ran out, on whatever device."""

import torch

_ON_A_CPU = ("DefaultCPUAllocator", "not enough memory")
"""In the plain RuntimeError that torch's allocator of main memory raises; the second on Windows."""


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, a GPU or torch's allocator of main memory could not give what was asked."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ON_A_CPU)
