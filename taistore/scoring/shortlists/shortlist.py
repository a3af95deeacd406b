"""The best labels of images among thousands: looked for with fast products, scored exactly.

All labels are scored in bfloat16 (float32 where that is not faster), a block of images at a time
that stays in the cache; the best ones, a few more than asked for, are scored again in float32,
which gives their order and what is written. An image whose last ones are too close to what was left
out is not sure, and is for the ladder itself.
Shapes: B images, V vectors of each (the whole first, then its regions), D embedding dimension, N
labels, P labels filled up, K labels of an image.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from taistore.scoring.ladders.competition import Competition
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.shortlists.formulas import (
    Formula,
    Spread,
    formula,
    standardised_parts,
)
from taistore.scoring.shortlists.products import FOLD, Part, Products, Vectors, rough_best

LABELS_FROM = 1024
"""With fewer labels the plain way is as cheap."""

ROWS = 128
"""Vectors scored at once on a CPU: their scores of 7,186 labels take 2 MB a part."""

ROWS_ON_GPU = 4096

SPARE = 10
"""Labels looked at beyond those asked for: with so many, 1 to 2 images in 100 are not sure."""

MORE_SPARE = 96
"""The same for an image that was not sure with the few: of their rough sums, which are there."""

CAREFUL = 2.0
"""How far what was left out may be off, in units of the largest error of what was scored again."""

RELATIVE = 2e-4
"""How far the deviation of an image's scores over all labels may be off."""


def fits(labels: int, count: int) -> bool:
    """Whether so few of so many labels are asked for that a short list is cheaper."""
    return labels >= LABELS_FROM and 2 * FOLD * (count + SPARE) <= labels


class Best(NamedTuple):
    """The best labels [B, K] of images with their scores in float32, highest first.

    Equal scores come by label id. Labels that were ruled out score minus infinity. Where not
    ``sure_B``, an image's row says nothing.
    """

    ids_BK: Tensor
    scores_BK: Tensor
    sure_B: Tensor


class _LookedAt(NamedTuple):
    """Labels [B, K] whose parts are known exactly, and the best of them."""

    best: Best
    ids_BK: Tensor
    exact: dict[Part, Tensor]


class Shortlist:
    """Finds the best labels by the scores of one step."""

    def __init__(
        self,
        step: Step,
        products: Products,
        parts: tuple[Part, ...],
        competition: Competition,
    ) -> None:
        self._step = step
        self._products = products
        self._parts = parts
        self._divided = standardised_parts(step, parts)
        self._competition = competition

    @property
    def labels(self) -> int:
        """N, the number of labels."""
        return self._products.labels

    def best(
        self,
        vectors_BVD: Tensor,
        count: int,
        *,
        without: tuple[Tensor, Tensor],
        used_B: Tensor | None = None,
    ) -> Best:
        """The ``count`` best labels of images by their raw float32 vectors.

        ``without`` are image rows and label ids that are ruled out. ``used_B`` int64 is how many of
        the labels are used of each image, 1 to ``count``, where not all: there they are sure.
        """
        images, each, _ = vectors_BVD.shape
        on_cpu = vectors_BVD.device.type == "cpu"
        block = max(1, (ROWS if on_cpu else ROWS_ON_GPU) // each)
        rows, filled = min(block, images) * each, self._products.filled
        out: dict[Part, Tensor] = {
            part: vectors_BVD.new_empty((rows, filled), dtype=self._products.kind)
            for part in dict.fromkeys((*self._parts, "cosines"))
        }
        row_C, label_C = without
        if used_B is None:
            used_B = torch.full((images,), count, device=vectors_BVD.device)
        found = []
        for low in range(0, images, block):
            part_bVD = vectors_BVD[low : low + block]
            here = (row_C >= low) & (row_C < low + block)
            ruled_out = (row_C[here] - low, label_C[here])
            found.append(self._block(part_bVD, count, ruled_out, used_B[low : low + block], out))
        return Best(*(torch.cat(columns) for columns in zip(*found, strict=True)))

    def _block(
        self,
        vectors_BVD: Tensor,
        count: int,
        without: tuple[Tensor, Tensor],
        used_B: Tensor,
        out: Mapping[Part, Tensor],
    ) -> Best:
        vectors = Vectors.of(vectors_BVD, self._products.layer)
        rough = self._products.rough(vectors, self._parts, out)
        levels = {part: self._products.levels(vectors, part) for part in self._parts}
        spreads = {
            part: self._spread(rough[part], levels[part], self._products.rounded_off(vectors, part))
            for part in self._divided
        }
        rule = formula(self._step, spreads, self._competition, levels, parts=self._parts)
        sums_BP = self._sums(rough, rule, without)
        few = self._looked_at(vectors, sums_BP, rule, levels, count, used_B=used_B, spare=SPARE)
        found = few.best
        unsure_b = (~found.sure_B).nonzero()[:, 0]
        if len(unsure_b):
            more = self._looked_at(
                vectors.rows(unsure_b),
                sums_BP[unsure_b],
                rule.rows(unsure_b),
                {part: level_B[unsure_b] for part, level_B in levels.items()},
                count,
                used_B=used_B[unsure_b],
                spare=min(MORE_SPARE, self._products.filled // FOLD - count),
            )
            for column, values in zip(found, more.best, strict=True):
                column[unsure_b] = values
        if not rule.totals:
            return found
        total_B = self._log_total(
            rough["logits"], levels["logits"], few.exact["logits"], few.ids_BK
        )
        return found._replace(scores_BK=found.scores_BK - rule.totals * total_B[:, None])

    def _looked_at(
        self,
        vectors: Vectors,
        sums_BP: Tensor,
        rule: Formula,
        levels: Mapping[Part, Tensor],
        count: int,
        *,
        used_B: Tensor,
        spare: int,
    ) -> "_LookedAt":
        """The ``count`` best of the labels with the highest rough sums, ``spare`` more than that.

        Their scores lack the total of the shares.
        """
        values_BK, ids_BK = rough_best(sums_BP, count + spare)
        ids_BK, order_BK = ids_BK.sort(dim=1)
        values_BK = values_BK.gather(1, order_BK).float()
        exact = self._products.exact(vectors, ids_BK, self._parts)
        sure_B = _sure(rule, exact, levels, values_BK, used_B)
        scores_BK = rule.scores(exact).masked_fill(values_BK == -torch.inf, -torch.inf)
        scores_BK, order_BK = scores_BK.sort(dim=1, descending=True, stable=True)
        sure_B &= scores_BK[:, :count].isfinite().all(dim=1)
        best = Best(ids_BK.gather(1, order_BK)[:, :count], scores_BK[:, :count], sure_B)
        return _LookedAt(best, ids_BK, exact)

    def _spread(self, part_BP: Tensor, level_B: Tensor, rounded_off_B: Tensor | float) -> Spread:
        """Mean and deviation over the labels of a part that lacks its level."""
        labels = self._products.labels
        part_BN = part_BP[:, :labels]
        mean_B = part_BN.sum(dim=1, dtype=torch.float32) / labels
        norm_B = torch.linalg.vector_norm(part_BN, dim=1, dtype=torch.float32)
        variance_B = norm_B.square() / labels - mean_B.square() + rounded_off_B
        return Spread(level_B + mean_B, variance_B.sqrt())

    def _sums(
        self, rough: Mapping[Part, Tensor], rule: Formula, without: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Rough sums [B, P] of the parts by their weights, as multiples of that of the first.

        The parts' room is used up but for that of the first.
        """
        first, *others = rule.weights
        sums_BP = rough[first]
        for part in others:
            ratio_B1 = rule.ratio(part)[:, None].to(sums_BP.dtype)
            sums_BP = torch.addcmul(sums_BP, rough[part], ratio_B1, out=rough[part])
        if not others:
            sums_BP = sums_BP.clone()
        sums_BP[:, self._products.labels :] = -torch.inf
        sums_BP[without] = -torch.inf
        return sums_BP

    def _log_total(
        self, logits_BP: Tensor, level_B: Tensor, exact_BK: Tensor, ids_BK: Tensor
    ) -> Tensor:
        """Logarithm of the sum of all labels' shares and that of "none": [B].

        From the rough logits, which are used up; those that are known exactly replace theirs.
        """
        shares_BP = logits_BP.exp_()
        total_B = shares_BP[:, : self._products.labels].sum(dim=1, dtype=torch.float32)
        known_BK = (exact_BK - level_B[:, None]).exp() - shares_BP.gather(1, ids_BK).float()
        none = self._competition.none / self._competition.spread
        log_total_B = level_B + (total_B + known_BK.sum(dim=1)).log()
        return torch.logaddexp(torch.full_like(log_total_B, none), log_total_B)


def _sure(
    rule: Formula,
    exact: Mapping[Part, Tensor],
    levels: Mapping[Part, Tensor],
    values_BK: Tensor,
    used_B: Tensor,
) -> Tensor:
    """Of which images [B] the ``used_B`` best labels are certainly among those looked at.

    What was left out was roughly at most the lowest of ``values_BK``.
    """
    sums_BK = torch.zeros_like(values_BK)
    for part in rule.weights:
        sums_BK += rule.ratio(part)[:, None] * (exact[part] - levels[part][:, None])
    error_B = (sums_BK - values_BK).abs().amax(dim=1)
    best_BK, order_BK = sums_BK.sort(dim=1, descending=True, stable=True)
    # The last one that is used, and the next.
    ends_B2 = torch.stack([used_B - 1, used_B], dim=1)
    two_B2, lowest_B = best_BK.gather(1, ends_B2), values_BK.amin(dim=1)
    # What the deviation's error moves the one against the other by.
    moved_B = torch.zeros_like(lowest_B)
    for part in list(rule.weights)[1:]:
        parts_B2 = exact[part].gather(1, order_BK.gather(1, ends_B2))
        moved_B += rule.ratio(part) * (parts_B2[:, 0] - parts_B2[:, 1]).abs()
    apart_B = two_B2[:, 0] - two_B2[:, 1] >= RELATIVE * moved_B
    # Sums below 0 order the other way round as bits, and a label that is no number is never above.
    return (lowest_B > 0) & (two_B2[:, 0] - lowest_B > CAREFUL * error_B) & apart_B
