"""An iterator that runs on another thread, some items ahead of who takes them."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")

_END = object()


def prefetched(items: Iterator[ItemT], *, depth: int) -> Iterator[ItemT]:
    """Run ``items`` on one other thread, ``depth`` ahead; its errors are raised here."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # raised again on the reading thread
            put(error)

    thread = threading.Thread(target=work, name="taistore-stream", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
