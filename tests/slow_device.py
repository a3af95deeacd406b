"""A device for ``taistore.devices`` that copies and works on threads, slowly.

It does what CUDA promises and no more: a copy reads pinned memory when its turn comes, memory that
was let go is given out again at once unless a stream is known to use it, and what was never copied
is rubbish.
"""

import queue
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
RUBBISH = 0xAB
PATIENCE_S = 20.0


class SlowStream:
    """Work in order, on a thread of its own."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

    def launch(self, work: Callable[[], object]) -> None:
        """Have it done in its turn; returns at once."""
        self._work.put(work)

    def wait_event(self, event: "SlowEvent", /) -> None:
        """What comes next waits for the event as it is marked now."""
        mark = event.mark
        self.launch(lambda: mark.wait(PATIENCE_S))


class Inline(SlowStream):
    """Work at once, on the thread that launches it: for tests whose work is torch's own."""

    def launch(self, work: Callable[[], object]) -> None:
        """Do it."""
        work()


class SlowEvent:
    """A mark in a stream."""

    def __init__(self) -> None:
        self.mark = threading.Event()
        self.mark.set()

    def record(self, stream: SlowStream, /) -> None:
        """Mark what the stream has been given."""
        mark = self.mark = threading.Event()
        stream.launch(mark.set)

    def synchronize(self) -> None:
        """Wait for the mark."""
        assert self.mark.wait(PATIENCE_S), "nothing comes"


class SlowDevice:
    """``Copies`` of a device whose copies take ``copy_s`` each.

    ``begun`` says of each copy, by number, whether it has begun.
    """

    def __init__(self, *, copy_s: float = 0.002, inline: bool = False) -> None:
        self.side = SlowStream()
        self.work = Inline() if inline else SlowStream()
        self.pinned_buffers = 0
        self.begun: defaultdict[int, threading.Event] = defaultdict(threading.Event)
        self._copy_s = copy_s
        self._sent = 0
        self._free: defaultdict[int, list[Bytes]] = defaultdict(list)
        self._blocks: dict[int, Bytes] = {}
        self._users: dict[int, SlowStream] = {}

    def current(self) -> SlowStream:
        """The stream of the work."""
        return self.work

    def event(self) -> SlowEvent:
        """A new one."""
        return SlowEvent()

    def pinned(self, size: int) -> Tensor:
        """Memory of this machine."""
        self.pinned_buffers += 1
        return torch.full((size,), RUBBISH, dtype=torch.uint8)

    def sent(self, pinned: Tensor) -> Tensor:
        """Memory of the device, which the copy fills when its turn comes."""
        source, size, number = pinned.numpy(), len(pinned), self._sent
        self._sent += 1
        free = self._free[size]
        block = free.pop() if free else np.full(size, RUBBISH, np.uint8)
        self._blocks[block.ctypes.data] = block
        # Torch holds this view of the block as long as any tensor lies in it.
        lease = block.view()
        weakref.finalize(lease, self._let_go, block)

        def copy() -> None:
            self.begun[number].set()
            time.sleep(self._copy_s)
            np.copyto(block, source)

        self.side.launch(copy)
        return torch.from_numpy(lease)

    def used_on(self, sent: Tensor, stream: SlowStream, /) -> None:
        """What was sent is in use until that stream is there."""
        self._users[sent.untyped_storage().data_ptr()] = stream

    def fetched(self, made: Tensor) -> Tensor:
        """Memory of this machine, filled by the stream of the work."""
        host = torch.empty_like(made).view(torch.uint8).fill_(RUBBISH).view(made.dtype)

        def copy() -> None:
            time.sleep(self._copy_s)
            host.copy_(made)

        self.work.launch(copy)
        return host

    def launch(self, kernel: Callable[[NDArray[Any]], object], sent: Tensor) -> None:
        """Work on what was sent: like a kernel it has an address and keeps no memory alive."""
        start = sent.data_ptr() - sent.untyped_storage().data_ptr()
        block = self._blocks[sent.untyped_storage().data_ptr()]
        dtype = torch.empty(0, dtype=sent.dtype).numpy().dtype
        values = block[start : start + sent.nbytes].view(dtype).reshape(tuple(sent.shape))
        self.work.launch(lambda: kernel(values))

    def _let_go(self, block: Bytes) -> None:
        free = self._free[len(block)]
        user = self._users.pop(block.ctypes.data, None)
        if user is None:
            free.append(block)
        else:
            user.launch(lambda: free.append(block))
