"""Images scored and their tags chosen: by a short list of labels where that serves, else by all.

Shapes: B images, D embedding dimension, N labels, R regions per image, K labels of an image, T
tags.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.geometry.exact_search.fast_type import fast_type
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.known_cells import KnownCells
from taistore.scoring.ladders.ladder import ZERO_SHOT_STEPS, Ladder, Step, as_tensor, step_for
from taistore.scoring.selection import Choice, Tags, chosen_tags
from taistore.scoring.shortlists.formulas import WHOLE_ALONE, parts_of
from taistore.scoring.shortlists.products import Products
from taistore.scoring.shortlists.shortlist import Best, Shortlist, fits

Tagged = tuple[Tags, NDArray[np.float32]]
"""Tags with their confidence [T]."""


class Images(NamedTuple):
    """Images with their vectors, and what is known of their labels (None: nothing is asked)."""

    ids: Sequence[str]
    whole_BD: NDArray[np.float16]
    regions_BRD: NDArray[np.float16] | None
    known: KnownCells | None = None


class Chooser:
    """Gives images the tags of one choice by one ladder.

    Which way is :meth:`_shortlist`'s to decide: with ``top_k`` among a thousand labels or more the
    best ones are looked for first, and the same labels come out with scores that are off by
    0.002 at most; all labels are scored where all may be tags, few are there, the ladder is an
    ensemble's or a prompt learner's, or regions meet the discriminant, whose deviation over labels
    rounding moves too far.
    """

    def __init__(self, ladder: Ladder, choice: Choice) -> None:
        self._ladder = ladder
        self._choice = choice
        self._found: tuple[dict[Step, Shortlist | None], ...] = ({}, {})

    def __call__(self, images: Images) -> Tagged:
        """The tags of images; what is known overrides scores, see :func:`chosen_tags`."""
        regions = images.regions_BRD is not None
        step = step_for(self._choice.step, regions=regions)
        shortlist = self._shortlist(step, regions=regions)
        if shortlist is None:
            return self._plain(step, images, np.arange(len(images.ids)))
        best = self._best(shortlist, step, images)
        scores_BK = best.scores_BK
        confidence_BK = self._ladder.confidence(step, scores_BK, regions=regions).cpu().numpy()
        found, values_T = _of_best(best, confidence_BK, self._choice, images.known)
        unsure_b = np.flatnonzero(~best.sure_B.cpu().numpy())
        if not len(unsure_b):
            return found, values_T
        more, more_T = self._plain(step, images, unsure_b)
        return _in_order([found, more], [values_T, more_T])

    def _shortlist(self, step: Step, *, regions: bool) -> Shortlist | None:
        """What finds the best labels of a step; None where all are to be scored."""
        found = self._found[regions]
        if step not in found:
            found[step] = self._made(step, regions=regions)
        return found[step]

    def _made(self, step: Step, *, regions: bool) -> Shortlist | None:
        ladder, top_k = self._ladder, self._choice.top_k
        if top_k is None or not fits(ladder.labels, top_k):
            return None
        if ladder.layer is None and step not in ZERO_SHOT_STEPS:
            return None
        parts = parts_of(step, ladder.discriminant)
        if regions and "discriminant" in parts:
            return None
        products = Products(
            ladder.prompts_ND,
            ladder.layer if "logits" in parts else None,
            ladder.discriminant if "discriminant" in parts else None,
            spread=ladder.competition.spread,
            kind=fast_type(ladder.prompts_ND.device),
        )
        return Shortlist(step, products, parts, ladder.competition) if products.finite else None

    def _best(self, shortlist: Shortlist, step: Step, images: Images) -> Best:
        device = self._ladder.prompts_ND.device
        vectors_BVD = as_tensor(images.whole_BD, device)[:, None]
        if images.regions_BRD is not None and step not in WHOLE_ALONE:
            vectors_BVD = torch.cat([vectors_BVD, as_tensor(images.regions_BRD, device)], dim=1)
        nothing = np.empty(0, np.int64)
        stated = (nothing, nothing) if images.known is None else images.known.stated()
        row_C, label_C = (torch.from_numpy(column).to(device) for column in stated)
        top_k = self._choice.top_k
        assert top_k is not None, "there is no short list of all labels"
        used_B = None
        if images.known is not None:
            # What is known to be there comes first, and leaves room for so many others.
            shown_B = np.bincount(images.known.shown()[0], minlength=len(images.ids))
            used_B = torch.from_numpy(np.maximum(top_k - shown_B, 1)).to(device)
        with torch.inference_mode():
            return shortlist.best(vectors_BVD, top_k, without=(row_C, label_C), used_B=used_B)

    def _plain(self, step: Step, images: Images, rows_b: NDArray[np.int64]) -> Tagged:
        """The tags of these rows by the scores of all labels."""
        ladder = ladder_of(self._ladder, [images.ids[row] for row in rows_b])
        regions_BRD, known = images.regions_BRD, images.known
        regions_bRD = None if regions_BRD is None else regions_BRD[rows_b]
        scores_bN = ladder.scores(images.whole_BD[rows_b], regions_bRD, steps=[step])[step]
        tags, values_T = chosen_tags(
            scores_bN,
            self._choice,
            known_BN=None if known is None else known.take(rows_b).matrix(ladder.labels),
            confidence=functools.partial(ladder.confidence, regions=regions_BRD is not None),
        )
        return tags._replace(row=rows_b[tags.row]), values_T


def _of_best(
    best: Best,
    confidence_BK: NDArray[np.float32],
    choice: Choice,
    known: KnownCells | None,
) -> Tagged:
    """The tags of images that are sure: what is known to be there, then the best of the rest."""
    tags_BK = (best.sure_B[:, None] & (best.scores_BK > -torch.inf)).cpu().numpy()
    if choice.threshold is not None:
        tags_BK &= confidence_BK >= choice.threshold
    first_B = np.zeros(len(tags_BK), np.int64)
    if known is not None:
        tags_BK &= ~known.complete_B[:, None]
        shown_row, shown_label = known.shown()
        sure = best.sure_B.cpu().numpy()[shown_row]
        shown_row, shown_label = shown_row[sure], shown_label[sure]
        first_B = np.bincount(shown_row, minlength=len(tags_BK))
        tags_BK &= np.arange(tags_BK.shape[1]) < (tags_BK.shape[1] - first_B)[:, None]
    row, place = np.nonzero(tags_BK)
    rank = (first_B[row] + place + 1).astype(np.int32)
    label_id = best.ids_BK.cpu().numpy()[tags_BK].astype(np.int32)
    scored = Tags(row, rank, label_id), confidence_BK[tags_BK]
    if known is None or not len(shown_row):
        return scored
    ranks = np.arange(len(shown_row)) - np.repeat(np.cumsum(first_B) - first_B, first_B) + 1
    shown = Tags(shown_row, ranks.astype(np.int32), shown_label.astype(np.int32))
    return _in_order([shown, scored[0]], [np.ones(len(shown_row), np.float32), scored[1]])


def _in_order(tags: Sequence[Tags], values: Sequence[NDArray[np.float32]]) -> Tagged:
    """Tags of some images after those of others, by image and by rank."""
    row, rank, label_id = (np.concatenate(column) for column in zip(*tags, strict=True))
    order = np.lexsort((rank, row))
    return Tags(row[order], rank[order], label_id[order]), np.concatenate(values)[order]
