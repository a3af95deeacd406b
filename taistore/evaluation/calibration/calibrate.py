"""Calibrate a run: thresholds with a stated precision and probabilities, kept beside its weights.

Shapes: N labels, K known cells of a label, C cells of all labels.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.run_files.run_folder import folder_of, keep_folder, run_folder
from taistore.adapter.run_files.run_lock import written_alone
from taistore.defaults import CERTAINTY, PRECISION, VALIDATION
from taistore.errors import ScoringError
from taistore.evaluation.calibration.average_cut import best_average_cut
from taistore.evaluation.calibration.known_cells_of_split import SplitCells, learnt_images
from taistore.evaluation.calibration.labelled_split_check import require_labels
from taistore.evaluation.calibration.precision_cuts import more_images, precision_cut
from taistore.evaluation.calibration.shrunk_platt import Sigmoid, label_sigmoid, pooled_sigmoid
from taistore.evaluation.label_columns import LabelCells
from taistore.evaluation.labelled_scores import LabelledSplit, Scope
from taistore.evaluation.metrics import label_precision
from taistore.labels import PRESENT
from taistore.progress import Progress, no_progress
from taistore.scoring.cuts.calibration_file import (
    Calibration,
    LabelCalibration,
    read_calibration,
    save_calibration,
)
from taistore.scoring.cuts.step_choice import ChosenStep, best_step
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.loaded_run import open_run
from taistore.store.store import Store

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Cuts are looked for at these too, so that ``score`` has them without another look."""

_SAMPLE = 2**22
"""Most cells of all labels that the common sigmoid and the average cut are taken of."""


class _Asked(NamedTuple):
    precision: float
    confidence: float

    @property
    def precisions(self) -> tuple[float, ...]:
        return tuple(sorted({*PRECISIONS, self.precision}))


def calibrate(
    store: Store,
    run_id: str,
    *,
    precision: float = PRECISION,
    split: str = VALIDATION,
    confidence: float = CERTAINTY,
    step: Step | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Calibration:
    """Fit thresholds and probabilities to the labelled images of ``split``; kept with the run.

    Each label gets the lowest threshold whose tags are right in ``precision`` of the cases with
    ``confidence``, label by label (:mod:`.precision_cuts`), where there are labelled images enough;
    and the same for :data:`PRECISIONS`. Unknown cells count in nothing. Probabilities are those of
    :mod:`.shrunk_platt`. ``step`` None is the one with the best mAP, where one beats the top of the
    ladder clearly. Images whose labels the training has read are left out.

    Raises :class:`ScoringError` where an option is out of range, the split holds no such image or
    none shows a label, and what :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    asked = _Asked(_share("precision", precision), _share("confidence", confidence))
    require_labels(store, split)
    row = store.run(run_id)
    run = open_run(store, row.run_id, device=device)
    scored = LabelledSplit(run.store, run, Scope(split=split))
    if step is not None and step not in scored.steps:
        raise ScoringError(f"step {step!r} cannot be scored here: use {', '.join(scored.steps)}")
    cells = SplitCells(scored, learnt_images(store, row.run_id), progress)
    ladder = _ladder(scored, cells)
    _require_evidence(store, split, cells, ladder)
    chosen = best_step(scored.steps, {s: 100 * m for s, m in ladder.items()}, split=split)
    if step is not None:
        chosen = ChosenStep(step, "asked for")
    found = _calibration(
        run.store.labels.keys, scored, cells, chosen=chosen, asked=asked, ladder=ladder
    )
    folder = folder_of(store, row)
    with written_alone(folder, row.run_id):
        save_calibration(folder, found)
        keep_folder(store, row.checkpoint, folder)
    # Who fetches a run of an object store meanwhile makes its folder what is kept of it.
    if read_calibration(run_folder(store, row.run_id)) != found:
        raise ScoringError(
            f"run {row.run_id} was calibrated or fetched by another process meanwhile: run this "
            "again"
        )
    return found


def _calibration(
    keys: Sequence[str],
    scored: LabelledSplit,
    cells: SplitCells,
    *,
    chosen: ChosenStep,
    asked: _Asked,
    ladder: dict[Step, float],
) -> Calibration:
    run, split = scored.run, scored.scope.split
    assert split is not None, "synthetic images are not calibrated on"
    step = scored.same_as(chosen.step)
    stride = -(-cells.most // _SAMPLE)
    pooled = pooled_sigmoid(*_sampled(cells, step, stride))
    labels: list[LabelCalibration] = []
    logits, truth = [], []
    for one, key in zip(_labels(cells, step), keys, strict=True):
        sigmoid = label_sigmoid(pooled, one.scores, one.truth)
        labels.append(_label(key, one, sigmoid, asked))
        logits.append(sigmoid.logits(one.scores[::stride]).astype(np.float32))
        truth.append(one.truth[::stride])
    cut = best_average_cut(np.concatenate(logits), np.concatenate(truth))
    return Calibration(
        run_id=run.run_id,
        encoder_id=run.encoder_id,
        weights_digest=run.weights_digest,
        step=chosen.step,
        step_why=chosen.why,
        split=split,
        images=cells.images,
        with_regions=cells.with_regions,
        learnt=cells.learnt,
        precision=asked.precision,
        precisions=asked.precisions,
        confidence=asked.confidence,
        threshold=float(1 / (1 + np.exp(-cut))),
        slope=pooled.slope,
        offset=pooled.offset,
        ladder={str(step): average for step, average in ladder.items()},
        labels=tuple(labels),
        created=datetime.now(UTC).isoformat(),
    )


def _label(key: str, cells: LabelCells, sigmoid: Sigmoid, asked: _Asked) -> LabelCalibration:
    scores_K, truth_K = cells.scores, cells.truth
    at = {
        precision: precision_cut(
            scores_K, truth_K, precision=precision, confidence=asked.confidence
        )
        for precision in asked.precisions
    }
    more: int | None = 0
    if at[asked.precision] is None:
        more = more_images(
            scores_K, truth_K, precision=asked.precision, confidence=asked.confidence
        )
    return LabelCalibration(
        key=key,
        known=len(scores_K),
        positives=int((truth_K == PRESENT).sum()),
        slope=sigmoid.slope,
        offset=sigmoid.offset,
        cuts=tuple(cut for cut in at.values() if cut is not None),
        more=more,
    )


def _labels(cells: SplitCells, step: Step) -> Iterator[LabelCells]:
    """The known cells of each label, none of which was forgotten."""
    for columns in cells.blocks():
        yield from columns.all_labels(step)
        del columns


def _sampled(
    cells: SplitCells, step: Step, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scores and truth [C] of every so many-th cell of all labels."""
    parts = [(one.scores[::stride], one.truth[::stride]) for one in _labels(cells, step)]
    scores, truth = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(truth)


def _ladder(scored: LabelledSplit, cells: SplitCells) -> dict[Step, float]:
    """mAP of each step, a fraction; empty where no image shows a label."""
    average: dict[Step, list[float]] = {step: [] for step in scored.kept_steps}
    for columns in cells.blocks():
        for step, found in average.items():
            found += [label_precision(one.scores, one.truth) for one in columns.all_labels(step)]
        del columns
    made = {step: np.array(average[scored.same_as(step)]) for step in scored.steps}
    return {
        step: float(found_N[~np.isnan(found_N)].mean())
        for step, found_N in made.items()
        if not np.isnan(found_N).all()
    }


def _share(name: str, value: float) -> float:
    if not 0.01 <= value <= 0.999:
        raise ScoringError(f"{name} is {value}: it must lie between 0.01 and 0.999")
    return float(value)


def _require_evidence(
    store: Store, split: str, cells: SplitCells, ladder: dict[Step, float]
) -> None:
    if cells.images and ladder:
        return
    if cells.learnt and not cells.images:
        what = (
            f"the training has read the labels of all {cells.learnt:,} labelled images of split "
            f"{split!r}, which are evidence of nothing"
        )
    else:
        what = f"no image of split {split!r} that has a vector is known to show any label"
    raise ScoringError(f"{store.uri}: {what}: ingest other labelled images, or name them by split=")
