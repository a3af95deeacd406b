"""Copies ahead of the work: on a slow device of threads, and on a GPU where there is one."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.devices.ahead import SLOTS, ahead, late
from taistore.devices.copies import Copies, copies_to
from tests.slow_device import PATIENCE_S, SlowDevice

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
B, D = 7, 33


class Batch(NamedTuple):
    """What training takes: some of it tensors, some of it not."""

    vectors: Tensor
    positives: Tensor
    radius: float
    negatives: Tensor | None = None


def batches(count: int, *, device: str = "cpu") -> Iterator[tuple[Batch, ...]]:
    """Steps of two batches, in arrays that are used again for the next step."""
    room_BD = torch.empty(B, D, dtype=torch.float16)
    for step in range(count):
        room_BD.fill_(step)
        ids = torch.arange(step, step + step % 3)
        yield Batch(room_BD, ids, 0.5), Batch(room_BD.t()[:2] + 1, ids, 2.0, ids == step)


def expected(count: int) -> list[list[float]]:
    return [[float(step), float(step + 1)] for step in range(count)]


def test_on_a_cpu_nothing_is_touched() -> None:
    items = [(torch.ones(3), "one"), (torch.ones(3), "two")]
    assert copies_to(torch.device("cpu")) is None
    assert ahead(items, None) is items
    assert late(items, None) is items


def worked(device: SlowDevice, count: int, *, work_s: float = 0.0) -> list[list[float]]:
    """The values that the device's slow work saw of each step."""
    seen: list[list[float]] = []

    def kernel(vectors: NDArray[np.float16]) -> None:
        time.sleep(work_s)
        values = np.unique(vectors)
        seen[-1].append(float(values[0]) if len(values) == 1 else float("nan"))

    for one, other in ahead(batches(count), device):
        device.work.launch(lambda: seen.append([]))
        device.launch(kernel, one.vectors)
        device.launch(kernel, other.vectors)
        assert (one.radius, other.radius, one.negatives) == (0.5, 2.0, None)
    done = device.event()
    done.record(device.work)
    done.synchronize()
    return seen


def test_what_arrives_is_what_was_sent() -> None:
    shapes = []
    for one, other in ahead(batches(6), SlowDevice(inline=True)):
        assert isinstance(one, Batch)
        assert other.negatives is not None
        shapes.append((one.vectors.shape, other.vectors.shape, other.positives.tolist()))
        assert other.negatives.tolist() == [True, False][: len(other.positives)]
        assert (one.vectors.dtype, other.positives.dtype) == (torch.float16, torch.int64)
        assert other.vectors.data_ptr() % 64 == one.vectors.data_ptr() % 64
    ids = [list(range(step, step + step % 3)) for step in range(6)]
    assert shapes == [((B, D), (2, B), one) for one in ids]


def test_no_pinned_buffer_is_overwritten_before_its_copy_is_done() -> None:
    device = SlowDevice(copy_s=0.005)
    assert worked(device, 40) == expected(40)
    assert device.pinned_buffers == SLOTS


def test_no_memory_of_the_device_is_given_out_while_work_reads_it() -> None:
    assert worked(SlowDevice(copy_s=0.0), 60, work_s=0.002) == expected(60)


def test_a_larger_item_gets_a_larger_buffer() -> None:
    device = SlowDevice(inline=True)
    items = ((torch.full((size,), float(size)),) for size in (10, 2**19, 11, 2**20, 12, 13))
    assert [(len(x), float(x.mean())) for (x,) in ahead(items, device)] == [
        (size, float(size)) for size in (10, 2**19, 11, 2**20, 12, 13)
    ]
    assert device.pinned_buffers == 3


def test_the_next_copy_is_under_way_while_an_item_is_worked_on() -> None:
    device = SlowDevice(inline=True)
    for step, _ in enumerate(ahead(batches(5), device)):
        # Here the work keeps Python, too, as a step does that asks for its loss.
        assert step == 4 or device.begun[step + 1].wait(PATIENCE_S)


Way = Callable[[Iterable[tuple[Tensor]], Copies], Iterable[tuple[Tensor]]]


class NotThereError(Exception):
    """What a source ends with."""


def failing(count: int) -> Iterator[tuple[Tensor]]:
    for number in range(count):
        yield (torch.tensor([number]),)
    raise NotThereError(str(count))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("way", [ahead, late])
def test_an_error_comes_where_it_would_have_come(way: Way, count: int) -> None:
    found = iter(way(failing(count), SlowDevice(inline=True)))
    assert [int(next(found)[0]) for _ in range(count)] == list(range(count))
    with pytest.raises(NotThereError, match=str(count)):
        next(found)


def test_items_without_tensors_pass() -> None:
    items = [("a", None), (), (torch.tensor([3]), "b"), ("c",)]
    found = list(ahead(items, SlowDevice(inline=True)))
    assert found == [("a", None), (), (torch.tensor([3]), "b"), ("c",)]


def test_the_source_is_closed_when_who_works_stops() -> None:
    closed = threading.Event()

    def source() -> Iterator[tuple[Tensor]]:
        try:
            yield from ((torch.tensor([n]),) for n in range(9))
        finally:
            closed.set()

    for _ in ahead(source(), SlowDevice(inline=True)):
        break
    assert closed.wait(PATIENCE_S)


def test_results_are_those_of_their_item_and_one_behind() -> None:
    device = SlowDevice()
    launched = []

    def made() -> Iterator[tuple[int, Tensor]]:
        for number in range(5):
            launched.append(number)
            room = torch.zeros(4)
            device.work.launch(lambda room=room, number=number: room.fill_(number))  # type: ignore[misc]
            yield number, room

    for number, values in late(made(), device):
        assert values.tolist() == [number] * 4
        # The device has the next one to do while Python has this one.
        assert launched[-1] == min(number + 1, 4)


@NEEDS_GPU
def test_a_thousand_steps_on_the_gpu() -> None:
    cuda = torch.device("cuda")
    sums: list[Tensor] = []
    for one, other in ahead(batches(1000), copies_to(cuda)):
        assert one.vectors.is_cuda
        busy = torch.ones(512, 512, device=cuda)
        for _ in range(5):
            busy = busy @ busy.T / 512
        sums.append(torch.stack([one.vectors.float().mean(), other.vectors.float().mean()]))
    assert torch.stack(sums).tolist() == expected(1000)


@NEEDS_GPU
def test_results_come_from_the_gpu_one_behind() -> None:
    cuda = torch.device("cuda")
    made = ((n, torch.full((1000,), n, device=cuda)) for n in range(100))
    for n, values in late(made, copies_to(cuda)):
        assert values.device.type == "cpu"
        assert bool((values == n).all())


@NEEDS_GPU
def test_copies_and_work_overlap_on_the_gpu() -> None:
    cuda, steps = torch.device("cuda"), 20
    host = torch.ones(64 * 2**20, dtype=torch.uint8)
    matrix = torch.ones(4096, 4096, device=cuda)

    def work() -> None:
        for _ in range(4):
            torch.mm(matrix, matrix)

    def seconds(*, copy: bool, compute: bool) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        items = ((host,) if copy else () for _ in range(steps))
        for _ in ahead(items, copies_to(cuda)):
            if compute:
                work()
        torch.cuda.synchronize()
        return time.perf_counter() - began

    seconds(copy=True, compute=True)
    copied, computed = seconds(copy=True, compute=False), seconds(copy=False, compute=True)
    both = seconds(copy=True, compute=True)
    assert both < 0.9 * (copied + computed), (copied, computed, both)
