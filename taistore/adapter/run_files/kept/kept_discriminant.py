"""What a run keeps of the discriminant that unlabelled images gave it. N labels, D dimension."""

from pathlib import Path

import torch

from taistore.adapter.run_files.checkpoint import AGAIN, checked_tensors, write_tensors
from taistore.adapter.run_files.file_names import DISCRIMINANT
from taistore.errors import TrainingError
from taistore.geometry.unlabelled.discriminant import Discriminant


def save_discriminant(folder: Path, found: Discriminant) -> None:
    """Write it beside the checkpoint: 4 bytes times N x (D + 1)."""
    gap = torch.tensor([found.gap], dtype=torch.float64)
    tensors = {"weights": found.weights_ND, "bias": found.bias_N, "gap": gap}
    write_tensors(folder / DISCRIMINANT, tensors)


def read_discriminant(folder: Path, digest: str, size: tuple[int, int]) -> Discriminant:
    """What :func:`save_discriminant` wrote, of this digest and size [N, D]; else TrainingError."""
    found = checked_tensors(folder / DISCRIMINANT, digest)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != {"weights": size, "bias": size[:1], "gap": (1,)}:
        raise TrainingError(f"{folder / DISCRIMINANT}: not of these labels: {AGAIN}")
    return Discriminant(found["weights"], found["bias"], float(found["gap"][0]))
