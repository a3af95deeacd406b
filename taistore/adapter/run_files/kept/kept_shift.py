"""What a run keeps of its shift: the images' side of Eq. 9 of arXiv:2312.04160, per label.

The offsets of the combinations follow from it and from the texts that the run began with, so that
they need no room on disk. N labels, D embedding dimension.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from taistore.adapter.run_files.file_names import write_whole
from taistore.errors import TrainingError
from taistore.geometry.offsets import ImageSide

SHIFT = "shift.safetensors"


def save_image_side(folder: Path, images: ImageSide) -> None:
    """Write it beside the checkpoint: about 4 bytes times N x D."""
    tensors = {
        "estimates": np.ascontiguousarray(images.estimates_ND),
        "covered": images.covered_N,
        "counts": images.counts_N,
        "gap": images.gap_D,
        "pseudo_counts": np.array([images.pseudo_counts], dtype=np.float64),
    }
    write_whole(folder / SHIFT, lambda part: save_file(tensors, part))


def read_image_side(folder: Path) -> ImageSide | None:
    """What :func:`save_image_side` wrote; None of a run from before it was kept.

    Raises :class:`TrainingError` where the file is damaged.
    """
    path = folder / SHIFT
    if not path.is_file():
        return None
    try:
        found = load_file(path)
        return ImageSide(
            estimates_ND=found["estimates"],
            covered_N=found["covered"],
            counts_N=found["counts"],
            gap_D=found["gap"],
            pseudo_counts=float(found["pseudo_counts"][0]),
        )
    except (SafetensorError, OSError, KeyError) as error:
        raise TrainingError(
            f"{path}: where this run shifts its texts cannot be read: train again"
        ) from error
