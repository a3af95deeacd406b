"""The gradient of Eq. 3 from a sample of its negative cells (arXiv:2312.04160): unbiased.

B batch, N labels, S sampled of them, R labels that a step looks at, C listed cells, K width.

Positive cells count exactly, one by one. Of the negative ones those in S sampled columns stand for
all: each weighs N / S, the inverse of the probability that its column is drawn. Where negatives
are listed one by one (unknown cells lie between them), they count exactly while they are few.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from taistore.adapter.network import Head
from taistore.adapter.sampled.rooms import Rooms

_BLOCK = 256
"""Rows that fit a processor's cache."""


class StepCells(NamedTuple):
    """Cells of a batch, given one by one and as whole columns.

    ``rows`` and ``labels`` int64 [C] in order of rows, ``targets`` float32 [C] 1 or 0, ``weights``
    float32 [C]: what each counts. With ``columns`` every other cell of the sampled columns is
    negative too and counts ``column_weight``.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    columns: bool
    column_weight: float


def step_cells(
    positives_P: torch.Tensor,
    negatives_Q: torch.Tensor | None,
    row_weights: torch.Tensor | None,
    sampled_S: torch.Tensor,
    *,
    rows: int,
    labels: int,
) -> StepCells:
    """The cells that a step looks at of a batch of ``rows`` [B] by ``labels`` [N].

    ``positives_P`` and ``negatives_Q`` as :func:`taistore.adapter.loss.sparse_bce` takes them, with
    its weights of rows; ``sampled_S`` int64 [S]. More negatives than B S are taken from the sampled
    columns alone.
    """
    every = labels / len(sampled_S)
    if negatives_Q is None:
        cells_C = positives_P.sort().values
        known = rows * labels
        targets_C = torch.ones(len(cells_C), device=cells_C.device)
        weights_C = targets_C / known
    else:
        known = max(len(positives_P) + len(negatives_Q), 1)
        counts = 1.0
        if len(negatives_Q) > rows * len(sampled_S):
            chosen_N = torch.zeros(labels, dtype=torch.bool, device=positives_P.device)
            chosen_N[sampled_S] = True
            negatives_Q = negatives_Q[chosen_N[negatives_Q % labels]]
            counts = every
        cells_C, order_C = torch.cat([positives_P, negatives_Q]).sort()
        targets_C = (order_C < len(positives_P)).float()
        weights_C = torch.where(targets_C > 0, 1.0, counts) / known
    rows_C = cells_C // labels
    if row_weights is not None:
        weights_C = weights_C * row_weights[rows_C]
    return StepCells(
        rows_C, cells_C - rows_C * labels, targets_C, weights_C, negatives_Q is None, every / known
    )


@dataclass(frozen=True, slots=True)
class TouchedLabels:
    """The labels of a step: ``labels`` int64 [R], of which the first ``columns`` are sampled.

    ``place`` int64 [N] is where a label stands among them; what it says of others means nothing.
    """

    labels: torch.Tensor
    columns: int
    place: torch.Tensor


def touched_labels(
    batches: Sequence[StepCells], sampled_S: torch.Tensor, *, labels: int
) -> TouchedLabels:
    """The sampled labels, where whole columns are looked at, and those of all listed cells."""
    if not any(cells.columns for cells in batches):
        sampled_S = sampled_S[:0]
    place_N = torch.full((labels,), -1, dtype=torch.int64, device=sampled_S.device)
    place_N[sampled_S] = torch.arange(len(sampled_S), device=sampled_S.device)
    seen_N = torch.zeros(labels, dtype=torch.bool, device=sampled_S.device)
    for cells in batches:
        seen_N[cells.labels] = True
    seen_N[sampled_S] = False
    others = seen_N.nonzero()[:, 0]
    touched_R = torch.cat([sampled_S, others])
    place_N[others] = torch.arange(len(sampled_S), len(touched_R), device=sampled_S.device)
    return TouchedLabels(touched_R, len(sampled_S), place_N)


class SampledGradient:
    """The gradient of a step over its batches, as it adds up.

    ``tables`` are the touched rows [R, K] of every head's table, by name. ``rows`` is what this
    gives for those that are learnt; gradients of biases, of scales and of all that made the inputs
    are added to the parameters' own.
    """

    def __init__(
        self, touched: TouchedLabels, tables: Mapping[str, torch.Tensor], rooms: Rooms
    ) -> None:
        self.touched = touched
        self.rows: dict[str, torch.Tensor] = {}
        self._tables = tables
        self._rooms = rooms

    def add(
        self,
        heads: Sequence[Head],
        cells: StepCells,
        row_weights: torch.Tensor | None,
        *,
        value: bool,
    ) -> float:
        """Add that of a batch; returns its loss where the ``value`` is wanted, from these cells.

        That is an unbiased estimate of the loss over all cells. ``heads`` are the parts of the
        batch's logits.
        """
        with torch.no_grad():
            listed = _Listed(cells, self.touched, rows=len(heads[0].inputs))
            width = self.touched.columns if cells.columns else 0
            parts = [self._products(head, listed, width) for head in heads]
            logits_BS, logits_C = self._logits(heads, parts, listed, width)
            weights_B1 = torch.full_like(logits_BS[:, :1], cells.column_weight)
            if row_weights is not None:
                weights_B1 *= row_weights[:, None]
            loss = 0.0
            if value:
                costs_BS = F.softplus(logits_BS).mul_(weights_B1)
                costs_BS.view(-1)[listed.in_columns] = 0.0
                costs_C = (F.softplus(logits_C) - cells.targets * logits_C).mul_(cells.weights)
                loss = float(costs_BS.sum() + costs_C.sum())
            outer_BS = logits_BS.sigmoid_().mul_(weights_B1)
            outer_BS.view(-1)[listed.in_columns] = 0.0
            outer_C = logits_C.sigmoid_().sub_(cells.targets).mul_(cells.weights)
            slopes = [
                self._add_head(head, part, listed, outer_BS, outer_C)
                for head, part in zip(heads, parts, strict=True)
            ]
        made = [
            (head.inputs, slope_BK)
            for head, slope_BK in zip(heads, slopes, strict=True)
            if slope_BK is not None
        ]
        if made:
            inputs, inputs_slopes = zip(*made, strict=True)
            torch.autograd.backward(inputs, inputs_slopes)
        return loss

    def _products(
        self, head: Head, listed: "_Listed", width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Products of inputs and table, of the columns [B, S] and of the listed cells [C]."""
        table_RK, inputs_BK = self._tables[head.table], head.inputs.detach()
        return inputs_BK @ table_RK[:width].T, listed.products(inputs_BK, table_RK)

    def _logits(
        self,
        heads: Sequence[Head],
        parts: Sequence[tuple[torch.Tensor, torch.Tensor]],
        listed: "_Listed",
        width: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits_BS, logits_C = (torch.zeros_like(part) for part in parts[0])
        for head, (part_BS, part_C) in zip(heads, parts, strict=True):
            scale = 1.0 if head.scale is None else head.scale
            logits_BS += scale * part_BS
            logits_C += scale * part_C
            if head.bias is not None:
                bias_R = head.bias[self.touched.labels]
                logits_BS += bias_R[:width]
                logits_C += bias_R[listed.places]
        return logits_BS, logits_C

    def _add_head(
        self,
        head: Head,
        part: tuple[torch.Tensor, torch.Tensor],
        listed: "_Listed",
        outer_BS: torch.Tensor,
        outer_C: torch.Tensor,
    ) -> torch.Tensor | None:
        """Add a part's gradients; that of its inputs [B, K] where they need one."""
        inputs_BK, width = head.inputs.detach(), outer_BS.shape[1]
        if head.scale is not None:
            slope = (outer_BS * part[0]).sum() + outer_C.dot(part[1])
            _accumulate(head.scale, slope)
        if head.bias is not None:
            bias_N = torch.zeros_like(head.bias)
            bias_N[self.touched.labels[:width]] = outer_BS.sum(dim=0)
            bias_N.index_add_(0, self.touched.labels[listed.places], outer_C)
            _accumulate(head.bias, bias_N)
        if head.learnt:
            known_RK = self.rows.get(head.table)
            if known_RK is None:
                size = len(self.touched.labels)
                known_RK = self._rooms.take(f"{head.table} gradient", inputs_BK, size).zero_()
                self.rows[head.table] = known_RK
            listed.add_by_label(known_RK, inputs_BK, outer_C)
            known_RK[:width].addmm_(outer_BS.T, inputs_BK)
        if not head.inputs.requires_grad:
            return None
        table_RK = self._tables[head.table]
        slopes_BK = listed.by_row(table_RK, outer_C)
        return slopes_BK.addmm_(outer_BS, table_RK[:width])


class _Listed:
    """Where a batch's listed cells lie, and products and sums over them alone."""

    def __init__(self, cells: StepCells, touched: TouchedLabels, *, rows: int) -> None:
        self.places = touched.place[cells.labels]
        self._rows_C = cells.rows
        counts_B = torch.bincount(cells.rows, minlength=rows)
        self._ends_B1 = F.pad(counts_B.cumsum(0), (1, 0))
        self._by_label_C = self.places.argsort()
        width = touched.columns if cells.columns else 0
        inside_C = self.places < width
        self.in_columns = self._rows_C[inside_C] * width + self.places[inside_C]

    def products(self, inputs_BK: torch.Tensor, table_RK: torch.Tensor) -> torch.Tensor:
        """The product of row and label of every cell: [C]."""
        size = (len(inputs_BK), len(table_RK))
        pattern = _sparse(self._ends_B1, self.places, torch.zeros_like(inputs_BK[:0, 0]), size)
        found: torch.Tensor = torch.sparse.sampled_addmm(
            pattern, inputs_BK, table_RK.T, beta=0.0
        ).values()
        return found

    def add_by_label(
        self, sums_RK: torch.Tensor, inputs_BK: torch.Tensor, outer_C: torch.Tensor
    ) -> None:
        """Add to each label's row the inputs of its cells, times ``outer_C``."""
        order_C = self._by_label_C
        rows_C, outer_C = self._rows_C[order_C], outer_C[order_C]
        counts_R = torch.bincount(self.places, minlength=len(sums_RK))
        ends = F.pad(counts_R.cumsum(0), (1, 0))
        for first in range(0, len(sums_RK), _BLOCK):
            last = min(first + _BLOCK, len(sums_RK))
            begin, end = int(ends[first]), int(ends[last])
            sums_RK[first:last] += F.embedding_bag(
                rows_C[begin:end],
                inputs_BK,
                ends[first:last] - begin,
                mode="sum",
                per_sample_weights=outer_C[begin:end],
            )

    def by_row(self, table_RK: torch.Tensor, outer_C: torch.Tensor) -> torch.Tensor:
        """Sums over the cells of each row of its labels' table rows times ``outer_C``: [B, K]."""
        return F.embedding_bag(
            self.places, table_RK, self._ends_B1[:-1], mode="sum", per_sample_weights=outer_C
        )


def _sparse(
    ends_B1: torch.Tensor, columns_C: torch.Tensor, like: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    with warnings.catch_warnings():
        # "Sparse CSR tensor support is in beta state", once a process.
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            ends_B1, columns_C, like.new_zeros(len(columns_C)), size, check_invariants=False
        )


def _accumulate(weight: torch.Tensor, gradient: torch.Tensor) -> None:
    weight.grad = gradient if weight.grad is None else weight.grad + gradient
