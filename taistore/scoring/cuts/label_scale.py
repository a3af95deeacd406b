"""A calibration as tensors: scores of a step to logits of probabilities, and cuts of labels.

Shapes: B images, N labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from taistore.labels import LabelSet
from taistore.scoring.cuts.calibration_file import Calibration


@dataclass(frozen=True, slots=True)
class LabelScale:
    """Slope and offset [N] of each label, and the least score [N] of its tags (None: any).

    A label that may have no tag has the least score infinity.
    """

    slope_N: Tensor
    offset_N: Tensor
    least_N: Tensor | None = None

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        labels: LabelSet,
        *,
        precision: float | None,
        device: torch.device,
    ) -> "LabelScale":
        """For these labels; those that the calibration does not know have the sigmoid of all."""
        by_key = {label.key: label for label in calibration.labels}
        found = [by_key.get(key) for key in labels.keys]
        slopes = [calibration.slope if one is None else one.slope for one in found]
        offsets = [calibration.offset if one is None else one.offset for one in found]
        least_N = None
        if precision is not None:
            cuts = [() if one is None else one.cuts for one in found]
            least = [
                min((cut.threshold for cut in own if cut.precision == precision), default=torch.inf)
                for own in cuts
            ]
            least_N = torch.tensor(least, dtype=torch.float32, device=device)
        return cls(
            torch.tensor(slopes, dtype=torch.float32, device=device),
            torch.tensor(offsets, dtype=torch.float32, device=device),
            least_N,
        )

    @property
    def labels_without_cut(self) -> int:
        """Labels that get no tag."""
        return 0 if self.least_N is None else int(self.least_N.isinf().sum())

    @property
    def least_probability(self) -> float | None:
        """The lowest that a label's least score stands for; None where no label has one."""
        if self.least_N is None:
            return None
        probability_N = self.logits(self.least_N).sigmoid()[self.least_N.isfinite()]
        return float(probability_N.min()) if len(probability_N) else None

    def logits(self, scores_BN: Tensor) -> Tensor:
        """Of the probabilities that the scores stand for."""
        return self.slope_N * scores_BN + self.offset_N

    def passed(self, scores_BN: Tensor) -> Tensor | None:
        """Which scores are high enough for a tag: bool [B, N]; None where all are."""
        return None if self.least_N is None else scores_BN >= self.least_N
