"""Evaluate a run: climb the ladder over the labelled images of a split and take the metrics.

Shapes: N labels, D embedding dimension, S resamples.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError, StoreError
from taistore.evaluation.bootstrap import (
    Resamples,
    interval,
    resampled_mean,
    resampled_precision,
)
from taistore.evaluation.labelled_scores import Scope, ScoredSplit, scored_split
from taistore.evaluation.metrics import Metrics, metrics
from taistore.evaluation.protocols import Protocol
from taistore.evaluation.report import Evaluation, Intervals, LabelResult
from taistore.labels import ABSENT, PRESENT
from taistore.progress import Progress, no_progress
from taistore.scoring.ladder import Step
from taistore.scoring.loaded_run import ScoringRun
from taistore.store.store import Store

SPLIT = "test"
"""The split that is evaluated where neither a name nor a protocol says otherwise."""


def evaluate(
    store: Store,
    run_id: str,
    *,
    split: str | None = None,
    protocol: Protocol | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Evaluation:
    """Every step of the ladder on the labelled images of ``split``, recorded with the run.

    An image takes part when its labels are complete or some of them are known; unknown cells are
    ignored. ``split`` is "test" unless named; a ``protocol`` chooses it, and the labels, itself.
    With ``bootstrap``, mAP gets percentile intervals over that many resamples of the images, drawn
    with ``seed``. Zero-shot goes by the label prompts kept with the run. An image is scored
    with its region vectors where it has any; what is known of it never decides its score. The score
    matrices lie on disk where they are large
    (:class:`~taistore.evaluation.score_matrices.ScoreBoard`).

    Raises :class:`StoreError` on an unknown run or encoder, :class:`TrainingError` on a lost or
    unfit checkpoint, and :class:`ScoringError` where the split holds nothing to evaluate on or
    the store is not what the protocol is about.
    """
    scope = chosen_scope(store, split, protocol)
    with scored_split(store, run_id, scope, device=device, progress=progress) as scored:
        leave_out_labels(scored, protocol)
        board = scored.board
        positives_N = (board.truth == PRESENT).sum(axis=0)
        found = {step: metrics(scored.scores(step), board.truth) for step in scored.kept_steps}
        intervals = _intervals(scored, bootstrap, seed, progress) if bootstrap else None
        images = board.images
    ladder = {step: found[scored.same_as(step)] for step in scored.steps}
    evaluation = Evaluation(
        run_id=run_id,
        split=scope.split,
        protocol=protocol,
        images=images,
        images_without_vectors=scored.without_vectors,
        images_with_regions=scored.with_regions,
        top=scored.steps[-1],
        ladder={str(step): found for step, found in ladder.items()},
        labels=_label_results(store, scope, positives_N, ladder),
        intervals=intervals,
        warnings=(
            *_warnings(ladder, scored, images),
            *(protocol.warnings(images) if protocol else ()),
        ),
    )
    try:
        _record(store, scored.run, evaluation)
    except StoreError as error:
        # Figures are what was asked for; a store that may only be read still gives them.
        lost = f"these figures are not kept with the run: {error}"
        return replace(evaluation, warnings=(*evaluation.warnings, lost))
    return evaluation


def chosen_scope(store: Store, split: str | None, protocol: Protocol | None) -> Scope:
    """What a split, a protocol, or neither stands for in a store."""
    return protocol.scope(store, split) if protocol else Scope(split=split or SPLIT)


def leave_out_labels(scored: ScoredSplit, protocol: Protocol | None) -> None:
    """Make unknown what a protocol does not count: labels that no image is known not to show."""
    if protocol is None or not protocol.needs_negatives:
        return
    truth_IN = scored.board.truth
    scored.board.forget(np.flatnonzero(~(truth_IN == ABSENT).any(axis=0)))
    if not (truth_IN == PRESENT).any():
        raise ScoringError(
            f"protocol {protocol.name}: no label has an image that is known to show it and one "
            "that is known not to: ingest verified negatives too"
        )


def _intervals(scored: ScoredSplit, samples: int, seed: int, progress: Progress) -> Intervals:
    resamples = Resamples(scored.board.images, samples, seed)
    found: dict[Step, tuple[float, float]] = {}
    with progress("bootstrap", total=len(scored.kept_steps), unit="step") as bar:
        for step in scored.kept_steps:
            precision_SN = resampled_precision(scored.scores(step), scored.board.truth, resamples)
            found[step] = interval(resampled_mean(precision_SN))
            bar.advance()
    return Intervals(
        samples=samples,
        seed=seed,
        mean_average_precision={str(step): found[scored.same_as(step)] for step in scored.steps},
    )


def _label_results(
    store: Store, scope: Scope, positives_N: NDArray[Any], ladder: dict[Step, Metrics]
) -> tuple[LabelResult, ...]:
    labels = scope.labels(store.labels)
    return tuple(
        LabelResult(
            key=label.key,
            name=label.name,
            positives=int(positives_N[n]),
            average_precision={
                step: float(found.label_average_precision[n]) for step, found in ladder.items()
            },
        )
        for n, label in enumerate(labels)
    )


def _warnings(ladder: dict[Step, Metrics], scored: ScoredSplit, images: int) -> tuple[str, ...]:
    warnings = []
    value = {step: round(100 * found.mean_average_precision, 1) for step, found in ladder.items()}
    if value["adapter_global"] < value["standardised"]:
        warnings.append(
            f"the adapter loses to standardised zero-shot, which needs no training: mAP "
            f"{value['adapter_global']:.1f} against {value['standardised']:.1f} on whole images. "
            "Give it more or more varied texts, or another radius"
        )
    if value["ensemble"] < value["zero_shot"]:
        warnings.append(
            f"the ensemble loses to plain zero-shot: mAP {value['ensemble']:.1f} against "
            f"{value['zero_shot']:.1f}"
        )
    if not scored.regions:
        warnings.append(
            "regions are left out: no image has region vectors. Store them with "
            "'taistore ingest-images --regions 7'"
        )
    elif scored.with_regions < images:
        warnings.append(
            f"only {scored.with_regions:,} of {images:,} images have region vectors, the others "
            "are scored as a whole: run 'taistore ingest-images' on them again"
        )
    if scored.without_vectors:
        warnings.append(
            f"{scored.without_vectors:,} labelled images of split {scored.scope.split!r} are left "
            "out, as they have no vector of this encoder: run 'taistore ingest-images' on them "
            "again"
        )
    return tuple(warnings)


def _record(store: Store, run: ScoringRun, evaluation: Evaluation) -> None:
    """Keep the ladder in the run's row, one entry per split and protocol."""
    found = evaluation.to_json()
    names = ("images", "regions_used", "images_with_regions", "ladder", "bootstrap", "warnings")
    kept = {name: found[name] for name in names if name in found}
    row = store.run(run.run_id)
    splits = {**row.metrics.get("evaluation", {}), evaluation.key: kept}
    store.record_run(replace(row, metrics={**row.metrics, "evaluation": splits}))
