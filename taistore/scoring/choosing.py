"""Images scored and their tags chosen: by a short list of labels where that serves, else by all.

Shapes: B images, D embedding dimension, N labels, R regions per image, K labels of an image, T
tags.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.devices.ahead import ahead, late
from taistore.devices.copies import Copies, copies_to
from taistore.geometry.exact_search.fast_type import fast_type
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.known_cells import KnownCells
from taistore.scoring.ladders.ladder import (
    ZERO_SHOT_STEPS,
    Ladder,
    Step,
    as_tensor,
    no_number,
    step_for,
)
from taistore.scoring.selection import (
    Choice,
    Ranked,
    Tags,
    chosen_tags,
    most_known,
    ranked,
    tags_of,
)
from taistore.scoring.shortlists.formulas import WHOLE_ALONE, parts_of
from taistore.scoring.shortlists.products import Products
from taistore.scoring.shortlists.shortlist import Best, Shortlist, fits

WhatT = TypeVar("WhatT")

Tagged = tuple[Tags, NDArray[np.float32]]
"""Tags with their confidence [T]."""


class Images(NamedTuple):
    """Images with their vectors, and what is known of their labels (None: nothing is asked)."""

    ids: Sequence[str]
    whole_BD: NDArray[np.float16]
    regions_BRD: NDArray[np.float16] | None
    known: KnownCells | None = None


class _Sent(NamedTuple):
    """What of images the ladder's device works with.

    ``stated`` are rows and label ids that a short list leaves out, and of how many of each image's
    labels [B] there is use; ``known_BN`` are all cells,
    where all labels are scored, with at most ``most_known`` that are there of an image.
    """

    whole_BD: Tensor
    regions_BRD: Tensor | None
    stated: tuple[Tensor, Tensor, Tensor] | None
    known_BN: Tensor | None
    most_known: int


class _Shortlisted(NamedTuple):
    """What that device found: the best labels and their confidence."""

    best: Best
    confidence_BK: Tensor


class _Scored(NamedTuple):
    """What that device found: all labels ranked, and whether all of their scores are numbers."""

    ranked: Ranked
    finite: Tensor


_Found = _Shortlisted | _Scored
_NOTHING: Tagged = (
    Tags(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)),
    np.empty(0, np.float32),
)


class Chooser:
    """Gives images the tags of one choice by one ladder.

    Which way is :meth:`_shortlist`'s to decide: with ``top_k`` among a thousand labels or more the
    best ones are looked for first, and the same labels come out with scores that are off by
    0.002 at most; all labels are scored where all may be tags, few are there, the ladder is an
    ensemble's or a prompt learner's, or regions meet the discriminant, whose deviation over labels
    rounding moves too far. ``copies`` say how the ladder's device copies (None: as it does).
    """

    def __init__(self, ladder: Ladder, choice: Choice, *, copies: Copies | None = None) -> None:
        self._ladder = ladder
        self._choice = choice
        self._copies = copies or copies_to(ladder.prompts_ND.device)
        self._found: tuple[dict[Step, Shortlist | None], ...] = ({}, {})

    def __call__(self, images: Images) -> Tagged:
        """The tags of images; what is known overrides scores, see :func:`chosen_tags`."""
        ((_, tagged),) = self.each([(None, images)])
        return tagged

    def each(self, batches: Iterable[tuple[WhatT, Images]]) -> Iterator[tuple[WhatT, Tagged]]:
        """The tags of batches, which come with whatever is to be known of them.

        On a GPU a batch is copied while the one before is scored, and the tags of a batch are
        fetched once the next one is launched: they come one behind.
        """
        sent = ((what, images, self._sent(images)) for what, images in batches)
        launched = (
            (what, images, None if parts is None else self._launch(images, parts))
            for what, images, parts in ahead(sent, self._copies)
        )
        for what, images, found in late(launched, self._copies):
            yield what, _NOTHING if found is None else self._tags(images, found)

    def _step(self, images: Images) -> tuple[Step, Shortlist | None]:
        """The step that images are scored by, and its short list where that serves."""
        regions = images.regions_BRD is not None
        step = step_for(self._choice.step, regions=regions)
        return step, self._shortlist(step, regions=regions)

    def _sent(self, images: Images) -> _Sent | None:
        """What goes to the device; None where there are no images."""
        if not images.ids:
            return None
        step, shortlist = self._step(images)
        whole_BD, regions_BRD, known = _tensor(images.whole_BD), images.regions_BRD, images.known
        regions = None if regions_BRD is None else _tensor(regions_BRD)
        top_k = self._choice.top_k
        if shortlist is None or top_k is None:
            cells_BN = None if known is None else known.matrix(self._ladder.labels)
            known_BN = None if cells_BN is None else torch.from_numpy(cells_BN)
            return _Sent(whole_BD, regions, None, known_BN, most_known(cells_BN))
        nothing = np.empty(0, np.int64)
        row_C, label_C = (nothing, nothing) if known is None else known.stated()
        # What is known to be there comes first, and leaves room for so many others.
        shown = nothing if known is None else known.shown()[0]
        used_B = np.maximum(top_k - np.bincount(shown, minlength=len(images.ids)), 1)
        stated = torch.from_numpy(row_C), torch.from_numpy(label_C), torch.from_numpy(used_B)
        return _Sent(whole_BD, None if step in WHOLE_ALONE else regions, stated, None, 0)

    @torch.inference_mode()
    def _launch(self, images: Images, sent: _Sent) -> _Found:
        step, shortlist = self._step(images)
        regions = images.regions_BRD is not None
        if shortlist is not None:
            best = self._best(shortlist, sent)
            confidence_BK = self._ladder.confidence(step, best.scores_BK, regions=regions)
            return _Shortlisted(best, confidence_BK)
        ladder = ladder_of(self._ladder, images.ids)
        scores_BN = ladder.unchecked(sent.whole_BD, sent.regions_BRD, steps=[step])[step]
        found = ranked(
            scores_BN,
            self._choice,
            known_BN=None if sent.known_BN is None else sent.known_BN.to(scores_BN.device),
            most_known=sent.most_known,
            confidence=functools.partial(ladder.confidence, regions=regions),
        )
        return _Scored(found, scores_BN.isfinite().all())

    def _tags(self, images: Images, found: _Found) -> Tagged:
        """The tags of images by what is on the CPU now."""
        step, _ = self._step(images)
        if isinstance(found, _Scored):
            if not found.finite:
                raise no_number(step)
            return tags_of(found.ranked)
        best, confidence_BK = found.best, found.confidence_BK.cpu().numpy()
        sure_B = best.sure_B.cpu().numpy()
        if images.known is not None:
            # What is known of some labels only leaves a list of unknown length.
            covered_B = images.known.covered_B
            sure_B &= (covered_B == 0) | (covered_B >= self._ladder.labels)
        tags, values_T = _of_best(best, confidence_BK, self._choice, images.known, sure_B)
        unsure_b = np.flatnonzero(~sure_B)
        if not len(unsure_b):
            return tags, values_T
        more, more_T = self._plain(step, images, unsure_b)
        return _in_order([tags, more], [values_T, more_T])

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

    def _best(self, shortlist: Shortlist, sent: _Sent) -> Best:
        device = self._ladder.prompts_ND.device
        vectors_BVD = as_tensor(sent.whole_BD, device)[:, None]
        if sent.regions_BRD is not None:
            vectors_BVD = torch.cat([vectors_BVD, as_tensor(sent.regions_BRD, device)], dim=1)
        assert self._choice.top_k is not None, "there is no short list of all labels"
        assert sent.stated is not None, "they are sent for it"
        row_C, label_C, used_B = (column.to(device) for column in sent.stated)
        return shortlist.best(
            vectors_BVD, self._choice.top_k, without=(row_C, label_C), used_B=used_B
        )

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


def _tensor(values: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _of_best(
    best: Best,
    confidence_BK: NDArray[np.float32],
    choice: Choice,
    known: KnownCells | None,
    sure_B: NDArray[np.bool_],
) -> Tagged:
    """The tags of images that are sure: what is known to be there, then the best of the rest."""
    tags_BK = sure_B[:, None] & (best.scores_BK > -torch.inf).cpu().numpy()
    if choice.threshold is not None:
        tags_BK &= confidence_BK >= choice.threshold
    first_B = np.zeros(len(tags_BK), np.int64)
    if known is not None:
        tags_BK &= (known.covered_B == 0)[:, None]
        shown_row, shown_label = known.shown()
        sure = sure_B[shown_row]
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
