"""Standard scores within an image. Shapes: B images, N labels."""

import torch
from torch import Tensor


def standardise(scores_BN: Tensor) -> Tensor:
    """Each image's scores minus their mean over the labels, over their standard deviation.

    Removes what lifts all labels of one image alike, such as the gap between the modalities. Where
    all scores are equal (as with a single label) the result is 0.
    """
    centred_BN = scores_BN - scores_BN.mean(dim=1, keepdim=True)
    deviation_B1 = centred_BN.square().mean(dim=1, keepdim=True).sqrt()
    scale_B1 = scores_BN.abs().amax(dim=1, keepdim=True)
    # Equal scores may differ by rounding; that difference must not be blown up to deviations.
    flat_B1 = deviation_B1 <= 1e-6 * scale_B1
    return torch.where(flat_B1, 0.0, centred_BN / deviation_B1.masked_fill(flat_B1, 1.0))
