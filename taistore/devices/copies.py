"""What a device does to copy while it works, and a CUDA GPU's way to do it."""

import functools
from typing import Any, Protocol

import torch
from torch import Tensor


class Event(Protocol):
    """A mark in a stream."""

    def record(self, stream: Any, /) -> None:
        """Mark what the stream has been given so far."""
        ...

    def synchronize(self) -> None:
        """Wait here until what was marked is done; at once where nothing was."""
        ...


class Stream(Protocol):
    """Work that a device does in order."""

    def wait_event(self, event: Any, /) -> None:
        """Have what comes next wait for the event's mark; returns at once."""
        ...


class Copies(Protocol):
    """What a device does to copy while it works."""

    @property
    def side(self) -> Stream:
        """The stream of copies to the device."""
        ...

    def current(self) -> Stream:
        """The stream of the work that is being launched."""
        ...

    def event(self) -> Event:
        """A new one."""
        ...

    def pinned(self, size: int) -> Tensor:
        """``size`` bytes of this machine's memory from which the device copies by itself."""
        ...

    def sent(self, pinned: Tensor) -> Tensor:
        """Bytes on the device that a copy on the side stream fills; returns at once."""
        ...

    def used_on(self, sent: Tensor, stream: Any, /) -> None:
        """Keep the memory of what was sent until the stream has done what it was given."""
        ...

    def fetched(self, made: Tensor) -> Tensor:
        """Memory here that a copy on the current stream fills; returns at once."""
        ...


class CudaCopies:
    """:class:`Copies` of a CUDA GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def current(self) -> torch.cuda.Stream:
        """That of this thread."""
        return torch.cuda.current_stream(self._device)

    def event(self) -> torch.cuda.Event:
        """One for which a thread sleeps: threads that decode or read need its core."""
        return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def pinned(self, size: int) -> Tensor:
        """Page-locked memory."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def sent(self, pinned: Tensor) -> Tensor:
        """A copy that nothing waits for."""
        with torch.cuda.stream(self.side):
            return pinned.to(self._device, non_blocking=True)

    def used_on(self, sent: Tensor, stream: torch.cuda.Stream, /) -> None:
        """Else what is copied next could be given that memory."""
        sent.record_stream(stream)

    def fetched(self, made: Tensor) -> Tensor:
        """A copy into page-locked memory: into any other one the GPU would be waited for."""
        host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
        return host.copy_(made, non_blocking=True)


@functools.lru_cache
def copies_to(device: torch.device) -> Copies | None:
    """How a device copies while it works; None where all is done in this machine's memory.

    One for each device: memory that was given out for one stream serves no other.
    """
    return CudaCopies(device) if device.type == "cuda" else None
