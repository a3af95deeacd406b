"""A Gaussian discriminant of labels from unlabelled images: no training, one closed form.

After PIAA, on whole images: a label's mean is that of the images nearest to its prompt. Shapes: S
images, D embedding dimension, N labels, K nearest images of a label.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from taistore.geometry.standardise import standardise
from taistore.geometry.unlabelled.image_sample import ImageSample

NEAREST = 20
MOST_IMAGES = 100_000
"""A covariance is known well by then, and so are the nearest images of most labels."""


@dataclass(frozen=True, slots=True)
class Discriminant:
    """Scores ``weights x + bias`` of unit vectors x: weights [N, D], bias [N].

    ``gap`` is the length of the difference between the mean unit image and the mean of the prompts
    that are nearest to each: small where texts and images fill one space, also if all images show
    the same, about 1 with CLIP.
    """

    weights_ND: Tensor
    bias_N: Tensor
    gap: float

    def to(self, device: torch.device) -> "Discriminant":
        """The same on a device."""
        return Discriminant(self.weights_ND.to(device), self.bias_N.to(device), self.gap)

    def scores(self, vectors_BD: Tensor) -> Tensor:
        """Scores [B, N] of vectors of any norm."""
        return F.normalize(vectors_BD, dim=-1) @ self.weights_ND.T + self.bias_N


def gaussian_discriminant(
    images: ImageSample, prompts_ND: Tensor, *, nearest: int = NEAREST
) -> Discriminant:
    """The discriminant of the labels with these unit prompts, from images in two passes.

    Near is who scores high among the other labels: the cosines of an image are standardised first.
    All classes share the covariance of the images, regularised as PIAA has it: its inverse is
    D pinv((S - 1) cov + tr(cov) I), the weights are inverse times mean, the bias is minus half of
    mean times weights, and all labels are equally likely beforehand.
    """
    labels, dim = prompts_ND.shape
    count = len(images)
    sum_D = torch.zeros(dim, dtype=torch.float64)
    squares_DD = torch.zeros(dim, dim, dtype=torch.float64)
    nearest_to_N = torch.zeros(labels, dtype=torch.float64)
    best_NK = torch.full((labels, 0), -torch.inf)
    rows_NK = torch.zeros((labels, 0), dtype=torch.int64)
    seen = 0
    for block_BD in images.blocks():
        unit_BD = F.normalize(block_BD, dim=-1)
        scores_BN = standardise(unit_BD @ prompts_ND.T)
        nearest_to_N += torch.bincount(scores_BN.argmax(dim=1), minlength=labels)
        rows_B = torch.arange(seen, seen + len(unit_BD))
        held_N = torch.cat([best_NK, scores_BN.T], dim=1)
        named_N = torch.cat([rows_NK, rows_B.expand(labels, -1)], dim=1)
        best_NK, places = held_N.topk(min(nearest, held_N.shape[1]), dim=1)
        rows_NK = named_N.gather(1, places)
        sum_D += unit_BD.sum(dim=0, dtype=torch.float64)
        squares_DD += unit_BD.double().T @ unit_BD.double()
        seen += len(unit_BD)
    means_ND = _means(images, rows_NK)
    scatter_DD = squares_DD - torch.outer(sum_D, sum_D) / count
    spread = scatter_DD.trace() / max(count - 1, 1)
    regular_DD = scatter_DD + spread * torch.eye(dim, dtype=torch.float64)
    inverse_DD = dim * torch.linalg.pinv(regular_DD, hermitian=True)
    weights_ND = means_ND @ inverse_DD
    bias_N = -0.5 * (weights_ND * means_ND).sum(dim=1)
    gap = float(((sum_D - nearest_to_N @ prompts_ND.double()) / count).norm())
    return Discriminant(weights_ND.float(), bias_N.float(), gap)


def _means(images: ImageSample, rows_NK: Tensor) -> Tensor:
    """The mean unit vector float64 [N, D] of each label's images."""
    labels, kept = rows_NK.shape
    flat = rows_NK.numpy().reshape(-1)
    order = np.argsort(flat, kind="stable")
    owner = torch.from_numpy(order // kept)
    ends = np.flatnonzero(np.diff(flat[order], append=-1))
    members = np.split(np.arange(len(flat)), ends[:-1] + 1)
    sums: Tensor | None = None
    at = 0
    for block_BD in images.blocks(flat[order][ends]):
        unit_BD = F.normalize(block_BD.double(), dim=-1)
        if sums is None:
            sums = torch.zeros(labels, unit_BD.shape[1], dtype=torch.float64)
        here = members[at : at + len(unit_BD)]
        places = torch.from_numpy(np.concatenate(here))
        repeats = torch.tensor([len(one) for one in here])
        sums.index_add_(0, owner[places], unit_BD.repeat_interleave(repeats, dim=0))
        at += len(unit_BD)
    assert sums is not None, "there are images"
    return sums / kept
