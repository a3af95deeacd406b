"""Evaluate a run: climb the ladder over the labelled images of a split and take the metrics.

Shapes: B images of a batch, P label ids of a batch, N labels, D embedding dimension.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation.board import ScoreBoard, truth_matrix
from taistore.evaluation.metrics import Metrics, metrics
from taistore.evaluation.report import Evaluation, LabelResult
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.scoring.ladder import Ladder, Step
from taistore.scoring.run import ScoringRun, open_run
from taistore.scoring.stored import StoredBatch, all_have_regions, stored_batches
from taistore.store.partial_labels import ragged
from taistore.store.store import Store

_TRUTH_COLUMNS = ("positives", "negatives", "complete")


def evaluate(
    store: Store,
    run_id: str,
    *,
    split: str = "test",
    prompts_ND: NDArray[Any],
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Evaluation:
    """Every step of the ladder on the labelled images of ``split``, recorded with the run.

    An image takes part when its labels are complete or some of them are known; unknown cells are
    ignored. ``prompts_ND`` are the labels' prompt vectors in the encoder of the run. Region
    vectors are used where all images have them. The score matrices lie on disk where they are
    large (:class:`~taistore.evaluation.board.ScoreBoard`).

    Raises :class:`StoreError` on an unknown run or encoder, :class:`TrainingError` on a lost or
    unfit checkpoint, and :class:`ScoringError` where the split holds nothing to evaluate on.
    """
    run = open_run(store, run_id, prompts_ND=prompts_ND, device=device)
    labelled = _labelled_images(store, split)
    regions = all_have_regions(store, run.encoder_id, where={"split": split})
    steps = run.ladder.steps(regions=regions)
    # Without regions the adapter's two steps are one, which need not be kept twice.
    scored = [step for step in steps if regions or step != "adapter"]
    with ScoreBoard(scored, images=labelled, labels=run.ladder.labels) as board:
        batches = stored_batches(
            store, run.encoder_id, columns=_TRUTH_COLUMNS, regions=regions, where={"split": split}
        )
        with progress("evaluate", total=labelled, unit="image") as bar:
            without_vectors = _fill(board, run.ladder, scored, batches, bar)
        if not board.images:
            raise ScoringError(
                f"{store.uri}: none of the {labelled} labelled images of split {split!r} has a "
                f"vector of {store.encoder(run.encoder_id).spec}: add them with "
                "'taistore ingest-images' and this --encoder"
            )
        positives_N = (board.truth == 1).sum(axis=0)
        if not positives_N.any():
            raise ScoringError(
                f"{store.uri}: no image of split {split!r} is known to show any label, only what "
                "they do not show is known: ingest images with positive labels"
            )
        found = {step: metrics(board.scores(step), board.truth) for step in scored}
        images = board.images
    ladder = {step: found[step] if step in found else found["adapter_global"] for step in steps}
    evaluation = Evaluation(
        run_id=run_id,
        split=split,
        images=images,
        images_without_vectors=without_vectors,
        regions_used=regions,
        top=steps[-1],
        ladder={str(step): found for step, found in ladder.items()},
        labels=_label_results(store, positives_N, ladder),
        warnings=_warnings(store, ladder, regions, without_vectors, split),
    )
    _record(store, run, evaluation)
    return evaluation


def _fill(
    board: ScoreBoard,
    ladder: Ladder,
    steps: Sequence[Step],
    batches: Iterable[StoredBatch],
    bar: ProgressBar,
) -> int:
    """Score all labelled images onto the board; returns how many had no vector."""
    without = 0
    for batch in batches:
        known = np.flatnonzero(_known(batch.rows))
        without += int(_known(batch.without_vector).sum())
        if len(known):
            regions_BRD = None if batch.regions_BRD is None else batch.regions_BRD[known]
            scores = ladder.scores(batch.whole_BD[known], regions_BRD, steps=steps)
            board.add(
                _truth(batch.rows.take(known), ladder.labels),
                {step: scores_BN.cpu().numpy() for step, scores_BN in scores.items()},
            )
        bar.advance(len(known))
    return without


def _known(rows: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows say anything about their labels: bool [B]."""
    known = np.asarray(rows.column("complete").to_numpy(zero_copy_only=False), dtype=bool)
    for name in ("positives", "negatives"):
        known |= pc.list_value_length(rows.column(name)).to_numpy(zero_copy_only=False) > 0
    return known


def _truth(rows: pa.RecordBatch, labels: int) -> NDArray[np.int8]:
    return truth_matrix(
        labels,
        ragged(rows.column("positives")),
        ragged(rows.column("negatives")),
        rows.column("complete").to_numpy(zero_copy_only=False),
    )


def _labelled_images(store: Store, split: str) -> int:
    """Images of the split with known labels; ScoringError names the splits that have some."""
    images: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for rows in store.scan("images", columns=["split", *_TRUTH_COLUMNS]):
        names = np.asarray(rows.column("split").to_pylist(), dtype=object)
        images.update(names.tolist())
        labelled.update(names[_known(rows)].tolist())
    if labelled[split]:
        return labelled[split]
    there = ", ".join(f"{name!r} ({count:,})" for name, count in sorted(labelled.items()) if count)
    remedy = (
        f"name one of the splits that have them with --split: {there}"
        if there
        else "ingest a manifest that names labels, such as "
        '{"image": "a.jpg", "labels": ["dog"], "split": "test"}'
    )
    if images[split]:
        what = f"none of the {images[split]:,} images of split {split!r} has known labels"
    else:
        what = f"split {split!r} holds no images"
    raise ScoringError(f"{store.uri}: {what}: {remedy}")


def _label_results(
    store: Store, positives_N: NDArray[Any], ladder: dict[Step, Metrics]
) -> tuple[LabelResult, ...]:
    return tuple(
        LabelResult(
            key=label.key,
            name=label.name,
            positives=int(positives_N[n]),
            average_precision={
                step: float(found.label_average_precision[n]) for step, found in ladder.items()
            },
        )
        for n, label in enumerate(store.labels)
    )


def _warnings(
    store: Store,
    ladder: dict[Step, Metrics],
    regions: bool,
    without_vectors: int,
    split: str,
) -> tuple[str, ...]:
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
    if not regions:
        warnings.append(
            "regions are left out: not every image has region vectors (of one grid). Store them "
            "with 'taistore ingest-images --regions 7'"
        )
    if without_vectors:
        warnings.append(
            f"{without_vectors:,} labelled images of split {split!r} are left out, as they have no "
            "vector of this encoder: run 'taistore ingest-images' on them again"
        )
    return tuple(warnings)


def _record(store: Store, run: ScoringRun, evaluation: Evaluation) -> None:
    """Keep the ladder in the run's row, one entry per split."""
    found = evaluation.to_json()
    kept = {name: found[name] for name in ("images", "regions_used", "ladder", "warnings")}
    row = store.run(run.run_id)
    splits = {**row["metrics"].get("evaluation", {}), evaluation.split: kept}
    store.record_run({**row, "metrics": {**row["metrics"], "evaluation": splits}})
