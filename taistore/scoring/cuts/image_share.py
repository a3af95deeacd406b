"""The cut where no image is labelled: a tag is sure enough, and stands out among an image's best.

A label's share is exp(w u) over the sum of that of the image's :data:`~taistore.defaults.MOST_TAGS`
best labels, where u is the logit of its confidence. Confidence alone does not carry from 20 labels
to 1,203: of more labels the best ones score higher by chance. The constants are in
:mod:`taistore.defaults`, what they gave is in ``docs/trustworthy-tags.md``. Only the best labels
are looked at, so that short lists have all it takes. Shapes: B images, K best labels.
"""

import torch
from torch import Tensor

from taistore.defaults import CUT_CONFIDENCE, CUT_SHARE, SHARE_SHARPNESS

_EDGE = 1e-7


def stands_out(confidence_BK: Tensor, there_BK: Tensor) -> Tensor:
    """Which of the best labels are tags: bool [B, K]; only those that are ``there`` count."""
    logits_BK = torch.logit(confidence_BK, eps=_EDGE) * SHARE_SHARPNESS
    share_BK = logits_BK.masked_fill(~there_BK, -torch.inf).softmax(dim=1)
    # What is not there has no share; where nothing is, shares are no numbers, which fail as well.
    return (confidence_BK >= CUT_CONFIDENCE) & (share_BK >= CUT_SHARE)
