"""What a GPU works on, copied there ahead of the work, and what it made, fetched one item late.

Copies go through pinned memory on a stream of their own, so that they and the work overlap and
neither waits for Python. On a CPU there is nothing to copy: items are passed on as they are.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from taistore.devices.copies import Copies, Event

SLOTS = 2
"""Pinned buffers in turn: one is filled while the last one is copied."""

_ALIGNED = 512
"""Bytes at whose multiples tensors begin, as those that torch gives out on a GPU do."""

_ROOM = 2**20
"""A pinned buffer's size is a multiple of it: a slightly larger batch needs no new one."""

ItemT = TypeVar("ItemT")
StartedT = TypeVar("StartedT")


def ahead(items: Iterable[ItemT], copies: Copies | None) -> Iterable[ItemT]:
    """``items``, tuples of tensors on the CPU and of whatever else, with the tensors on the device.

    Tuples within tuples are looked into, and named ones keep their names. While one item is worked
    on the next one is copied; the work, on the stream that is current when an item is taken, begins
    when its copy is done. Where ``items`` raise, those before are given out first. Without
    ``copies`` they are passed on untouched.
    """
    if copies is None:
        return items
    ring = _Ring(copies)
    return _one_behind(items, ring.start, ring.finish)


def late(items: Iterable[ItemT], copies: Copies | None) -> Iterable[ItemT]:
    """``items``, as in :func:`ahead`, with the tensors on the CPU, given out one behind.

    Taking an item launches the work that makes the next one, so that the device has that to do
    while Python has this one. Without ``copies`` they are passed on untouched, none behind.
    """
    if copies is None:
        return items
    return _one_behind(items, functools.partial(_fetch, copies), _arrived)


def _one_behind(
    items: Iterable[ItemT],
    start: Callable[[ItemT], StartedT],
    finish: Callable[[StartedT], ItemT],
) -> Iterator[ItemT]:
    """Each item started when it comes, finished when the next one is started."""
    under_way: deque[StartedT] = deque()
    failed: Exception | None = None
    source = iter(items)
    while True:
        try:
            under_way.append(start(next(source)))
        except StopIteration:
            break
        except Exception as error:
            failed = error
            break
        if len(under_way) > 1:
            yield finish(under_way.popleft())
    while under_way:
        yield finish(under_way.popleft())
    if failed is not None:
        try:
            raise failed
        finally:
            failed = None  # it holds this frame, which holds it


class _Slot:
    """A pinned buffer, and when its copy is done."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self.copied = copies.event()

    def room(self, size: int) -> Tensor:
        """``size`` bytes from which nothing is being copied."""
        self.copied.synchronize()
        if len(self._bytes) < size:
            self._bytes = self._copies.pinned(-(-size // _ROOM) * _ROOM)
        return self._bytes[:size]


class _Sent(NamedTuple):
    """An item on its way: its tensors lie in ``memory``, each from one of ``starts`` on."""

    item: Any
    memory: Tensor | None
    starts: list[int]
    copied: Event | None


class _Ring:
    """Slots that are used in turn; an item's tensors are copied together."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._slots = deque(_Slot(copies) for _ in range(SLOTS))

    def start(self, item: Any) -> _Sent:
        """Begin the copy of an item."""
        tensors = _tensors(item)
        if not tensors:
            return _Sent(item, None, [], None)
        starts, end = [], 0
        for tensor in tensors:
            starts.append(end)
            end += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        self._slots.rotate(-1)
        slot = self._slots[0]
        room = slot.room(end)
        for tensor, low in zip(tensors, starts, strict=True):
            _part(room, low, tensor).copy_(tensor)
        memory = self._copies.sent(room)
        slot.copied.record(self._copies.side)
        return _Sent(item, memory, starts, slot.copied)

    def finish(self, sent: _Sent) -> Any:
        """The item on the device, where the current stream waits for it."""
        if sent.memory is None:
            return sent.item
        stream = self._copies.current()
        stream.wait_event(sent.copied)
        self._copies.used_on(sent.memory, stream)
        memory, starts = sent.memory, iter(sent.starts)
        return _changed(sent.item, lambda tensor: _part(memory, next(starts), tensor))


def _fetch(copies: Copies, item: Any) -> tuple[Any, Event]:
    fetched = _changed(item, copies.fetched)
    done = copies.event()
    done.record(copies.current())
    return fetched, done


def _arrived(fetched: tuple[Any, Event]) -> Any:
    item, done = fetched
    done.synchronize()
    return item


def _part(memory: Tensor, low: int, like: Tensor) -> Tensor:
    """The bytes from ``low`` on as a tensor of the same type and shape."""
    return memory[low : low + like.nbytes].view(like.dtype).view(like.shape)


def _tensors(item: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _changed(item, note)
    return found


def _changed(item: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The item with each of its tensors changed, in order."""
    if isinstance(item, Tensor):
        return change(item)
    if not isinstance(item, tuple):
        return item
    parts = (_changed(part, change) for part in item)
    make: Callable[[Iterable[Any]], Any] = getattr(item, "_make", tuple)
    return make(parts)
