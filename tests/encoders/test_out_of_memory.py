"""Memory that runs out is told from other errors, by what torch really raises."""

import pytest
import torch

from taistore.encoders.out_of_memory import out_of_memory


def raised(shape: tuple[int, ...]) -> BaseException:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(shape, dtype=torch.uint8)
    return caught.value


def test_more_main_memory_than_there_is() -> None:
    """A pebibyte: more than a machine has, and less than torch refuses to count."""
    error = raised((2**50,))
    assert type(error) is RuntimeError
    assert out_of_memory(error)


def test_python_and_gpus() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    with pytest.raises(MemoryError) as caught:
        bytearray(2**62)
    assert out_of_memory(caught.value)


def test_other_errors_are_none() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not out_of_memory(caught.value)
    assert not out_of_memory(raised((-1,)))
    assert not out_of_memory(ValueError("not enough memory of what was said"))
