"""Which labels an image is tagged with: the best few, those above a threshold, or both.

Shapes: B images, N labels, T tags (of all images, one after another).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import PRESENT, UNKNOWN, LabelSet
from taistore.scoring.cuts.image_share import stands_out
from taistore.scoring.cuts.label_scale import LabelScale
from taistore.scoring.ladders.ladder import STEPS, Step, confidence


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The step that ranks the labels, how many an image gets at most, and from which score on.

    With a ``scale`` labels are ranked by calibrated probabilities, which are their confidence.
    ``share`` cuts where tags are best on average, see :mod:`taistore.scoring.cuts.image_share`;
    it takes ``top_k``. ``steps`` are those that there are. Raises :class:`ScoringError` when
    ``step`` is none of them, ``top_k`` is below 1 or ``threshold`` outside [0, 1].
    """

    step: Step
    top_k: int | None = None
    threshold: float | None = None
    steps: tuple[Step, ...] = STEPS
    scale: LabelScale | None = field(default=None, compare=False)
    share: bool = False

    def __post_init__(self) -> None:
        if self.step not in self.steps:
            raise ScoringError(
                f"step {self.step!r} cannot be scored here: use {', '.join(self.steps)}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ScoringError(f"top_k is {self.top_k}: it must be at least 1")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ScoringError(f"threshold is {self.threshold}: it must lie between 0 and 1")


class Tags(NamedTuple):
    """Chosen tags: image row [T], rank from 1 [T], label id [T]; by row, then by rank."""

    row: NDArray[np.int64]
    rank: NDArray[np.int32]
    label_id: NDArray[np.int32]


Confidence = Callable[[Step, Tensor], Tensor]
"""As :func:`~taistore.scoring.ladders.ladder.confidence`, of the ladder that gave the scores."""


class Ranked(NamedTuple):
    """The best labels of images [B, K], best first, which of them are tags, and their confidence.

    All on the device of the scores, where nothing waits for them.
    """

    ids_BK: Tensor
    chosen_BK: Tensor
    values_BK: Tensor


def choose(
    scores_BN: Tensor,
    *,
    top_k: int | None = None,
    allowed_BN: Tensor | None = None,
) -> Tags:
    """The ``top_k`` best labels (None: all) of each image among those ``allowed``.

    Only the chosen labels are sorted. Equal scores rank by label id.
    """
    return _tags(*_best(scores_BN, top_k=top_k, allowed_BN=allowed_BN))


def _best(
    scores_BN: Tensor,
    *,
    top_k: int | None,
    allowed_BN: Tensor | None,
    first_BN: Tensor | None = None,
    most_first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Label ids [B, K] of :func:`choose`, and which of them are chosen.

    Those ``first``, of an image at most ``most_first``, come before all others, all of them, by
    label id.
    """
    labels = scores_BN.shape[1]
    keep = most = labels if top_k is None else min(top_k, labels)
    if first_BN is not None and len(scores_BN):
        scores_BN = torch.where(first_BN, scores_BN.amax(dim=1, keepdim=True) + 1, scores_BN)
        keep = max(keep, most_first)
    if allowed_BN is not None:
        scores_BN = scores_BN.masked_fill(~allowed_BN, -torch.inf)
        if top_k is None:
            # A threshold leaves few labels per image: sort as many as the fullest image has.
            keep = min(keep, int(allowed_BN.sum(dim=1).max()) if len(scores_BN) else 0)
    values_BK, ids_BK = scores_BN.topk(keep, dim=1, sorted=False)
    ids_BK, by_id_BK = ids_BK.sort(dim=1)
    values_BK, by_value_BK = values_BK.gather(1, by_id_BK).sort(dim=1, descending=True, stable=True)
    ids_BK = ids_BK.gather(1, by_value_BK)
    chosen_BK = values_BK > -torch.inf
    if first_BN is not None:
        chosen_BK[:, most:] &= first_BN.gather(1, ids_BK)[:, most:]
    return ids_BK, chosen_BK


def chosen_tags(
    scores_BN: Tensor,
    choice: Choice,
    *,
    known_BN: NDArray[np.int8] | None = None,
    confidence: Confidence = confidence,
) -> tuple[Tags, NDArray[np.float32]]:
    """The tags that ``choice`` gives to images with these scores, and their confidence [T].

    What is ``known`` (1, 0, or -1 for unknown) overrides the scores: labels that are there are all
    given, with the confidence 1 and before others, and those that are absent are not.
    """
    known = None if known_BN is None else torch.from_numpy(known_BN).to(scores_BN.device)
    return tags_of(
        ranked(
            scores_BN,
            choice,
            known_BN=known,
            most_known=most_known(known_BN),
            confidence=confidence,
        )
    )


def most_known(known_BN: NDArray[np.int8] | None) -> int:
    """How many labels are known to be there of the image that has the most."""
    return 0 if known_BN is None else int((known_BN == PRESENT).sum(axis=1).max(initial=0))


def ranked(
    scores_BN: Tensor,
    choice: Choice,
    *,
    known_BN: Tensor | None,
    most_known: int,
    confidence: Confidence,
) -> Ranked:
    """What :func:`chosen_tags` chooses, on the device of the scores."""
    allowed_BN = None
    if choice.scale is None:
        confidence_BN = confidence(choice.step, scores_BN)
    else:
        allowed_BN = choice.scale.passed(scores_BN)
        scores_BN = choice.scale.logits(scores_BN)
        confidence_BN = scores_BN.sigmoid()
    if choice.threshold is not None:
        allowed_BN = confidence_BN >= choice.threshold
    present_BN = None
    if known_BN is not None:
        present_BN = known_BN == PRESENT
        confidence_BN = confidence_BN.masked_fill(present_BN, 1.0)
        open_BN = known_BN == UNKNOWN
        allowed_BN = (open_BN if allowed_BN is None else open_BN & allowed_BN) | present_BN
    ids_BK, chosen_BK = _best(
        scores_BN,
        top_k=choice.top_k,
        allowed_BN=allowed_BN,
        first_BN=present_BN,
        most_first=most_known,
    )
    values_BK = confidence_BN.gather(1, ids_BK)
    if choice.share:
        first_BK = torch.zeros_like(chosen_BK)
        if present_BN is not None:
            first_BK = present_BN.gather(1, ids_BK)
        chosen_BK = first_BK | stands_out(values_BK, chosen_BK & ~first_BK)
    return Ranked(ids_BK, chosen_BK, values_BK)


def tags_of(found: Ranked) -> tuple[Tags, NDArray[np.float32]]:
    """The tags among ranked labels, and their confidence [T]."""
    tags = _tags(found.ids_BK, found.chosen_BK)
    return tags, found.values_BK.cpu().numpy()[found.chosen_BK.cpu().numpy()]


def _tags(ids_BK: Tensor, chosen_BK: Tensor) -> Tags:
    kept_BK = chosen_BK.cpu().numpy()
    row, rank = np.nonzero(kept_BK)
    label_id = ids_BK.cpu().numpy()[kept_BK].astype(np.int32)
    return Tags(row.astype(np.int64), (rank + 1).astype(np.int32), label_id)


class LabelColumns:
    """Keys and names of a label set as Arrow arrays, with an empty one at the end, made once."""

    def __init__(self, labels: LabelSet) -> None:
        self.keys = pa.array([*labels.keys, ""], pa.string())
        self.names = pa.array([*(label.name for label in labels), ""], pa.string())

    def __len__(self) -> int:
        """N, the number of labels."""
        return len(self.keys) - 1


def tag_rows(
    image_ids: Sequence[str],
    uris: Sequence[str],
    tags: Tags,
    values_T: NDArray[np.float32],
    *,
    labels: LabelColumns,
) -> pa.Table:
    """Tags with their scores [T] as rows of ``contracts.SCORES``, by image and by rank.

    An image without any has one row, of rank 0, whose key and name are empty.
    """
    bare = np.setdiff1d(np.arange(len(image_ids)), tags.row)
    rows = np.concatenate([tags.row, bare])
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    label_ids = np.concatenate([tags.label_id, np.full(len(bare), len(labels), np.int32)])[order]
    ranks = np.concatenate([tags.rank, np.zeros(len(bare), np.int32)])[order]
    scores = np.concatenate([values_T, np.zeros(len(bare), np.float32)])[order]
    return pa.table(
        {
            "image_id": pa.array(list(image_ids), pa.string()).take(rows),
            "uri": pa.array(list(uris), pa.string()).take(rows),
            "rank": pa.array(ranks),
            "label_key": labels.keys.take(label_ids),
            "label_name": labels.names.take(label_ids),
            "score": pa.array(scores),
        }
    ).cast(SCORES)
