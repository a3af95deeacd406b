"""What is done to one image's scores: standardise them, let its labels compete, join both.

An image's tags must not depend on which others are scored with it, and no rule is fitted to
labelled images. Shapes: B images, N labels.

arXiv:2312.04160, suppl. 8 scales each score matrix to [0, 1] over all test images and averages,
which cannot stream. The last row is the rule in use, :func:`ensemble_scores`. Measured with the
packaged encoder and 5,000 template texts, mAP on 1,000 VOC2012 / 600 COCO photos (residual
network; small network):

====================================  ============  ============
adapter with regions, bare logits     75.7 / 48.9   78.5 / 48.9
... competing                         77.9 / 50.3   78.3 / 49.4
paper's rule over all images          75.0 / 48.9   78.1 / 49.3
paper's rule image by image           69.5 / 43.9   71.1 / 44.1
mean of standard scores               77.6 / 49.4   78.7 / 49.4
standard scores + log shares          78.2 / 50.7   79.1 / 50.3
====================================  ============  ============
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from taistore.geometry.standardise import standardise

LOGIT_WEIGHT = 0.5
"""Of an adapter's logits beside zero-shot and the discriminant where there is a gap."""

SHARE_WEIGHT = 1.5
"""Standard deviations of cosine that one unit of log share is worth; 1 to 3 measured alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Competition:
    """Labels of an image compete with each other and with "none of these".

    ``spread`` is the deviation of the adapter's logits, ``none`` the logit of "none of these".
    Without that option an image that shows no label would have its best one lifted to the level
    of true ones: on COCO photos with only 20 of the 80 labels known, of which most photos show
    none, it is worth 3 mAP; where every photo shows a label it costs at most 0.4.
    """

    spread: float = 1.0
    none: float = 0.0

    @classmethod
    def over_texts(cls, *, spread: float, energy: float) -> "Competition":
        """From logits over the training texts: their deviation and mean soft maximum.

        Images excite the labels less than texts do: "none" lies one deviation lower.
        """
        return cls(spread=spread, none=energy - spread)

    @classmethod
    def over_images(cls, *, spread: float, energy: float) -> "Competition":
        """From the logits of images that no label is known of: their deviation within an image,
        and their mean soft maximum, at which "none" lies."""
        return cls(spread=spread, none=energy)

    def log_shares(self, logits_BN: Tensor) -> Tensor:
        """Logarithm of each label's share among all labels and "none": [B, N], at most 0.

        The order of an image's labels stays that of the logits.
        """
        scaled_BN = logits_BN / self.spread
        none_B1 = torch.full_like(scaled_BN[:, :1], self.none / self.spread)
        total_B1 = torch.cat([scaled_BN, none_B1], dim=1).logsumexp(dim=1, keepdim=True)
        return scaled_BN - total_B1


def gap_scores(zero_shot_BN: Tensor, discriminant_BN: Tensor, logits_BN: Tensor) -> Tensor:
    """Mean of standardised cosines, discriminant scores and, at half the weight, logits.

    For spaces in which texts and images lie apart: there images excite all labels alike, more or
    less from image to image, which standardising takes out and shares do not.
    """
    parts = standardise(zero_shot_BN) + standardise(discriminant_BN)
    return (parts + LOGIT_WEIGHT * standardise(logits_BN)) / (2 + LOGIT_WEIGHT)


def ensemble_scores(zero_shot_BN: Tensor, shares_BN: Tensor) -> Tensor:
    """Standardised zero-shot cosines plus the adapter's log shares times :data:`SHARE_WEIGHT`.

    Both parts have a scale of their own that is the same for every encoder and adapter.
    """
    return standardise(zero_shot_BN) + SHARE_WEIGHT * shares_BN
