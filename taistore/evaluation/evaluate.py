"""Evaluate a run: climb the ladder over the labelled images of a split and take the metrics.

Shapes: N labels, D embedding dimension, S resamples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from taistore.adapter.run_files.kept.run_labels import seen_by_run
from taistore.defaults import SPLIT
from taistore.errors import ScoringError, StoreError
from taistore.evaluation import label_columns
from taistore.evaluation.bootstrap import ResampledMean, Resamples, interval, resampled_precision
from taistore.evaluation.label_columns import LabelColumns, bytes_a_cell, label_blocks
from taistore.evaluation.labelled_scores import LabelledSplit, Scope, labelled_split
from taistore.evaluation.metrics import Metrics
from taistore.evaluation.protocols import Protocol
from taistore.evaluation.report import Evaluation, Intervals, LabelResult
from taistore.evaluation.split_figures import SplitFigures, Tally, filled_block, split_figures
from taistore.progress import Progress, no_progress
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.loaded_run import ScoringRun
from taistore.store.store import Store


def evaluate(
    store: Store,
    run_id: str,
    *,
    split: str | None = None,
    synthetic: bool = False,
    protocol: Protocol | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Evaluation:
    """Every step of the ladder on the labelled images of ``split``, recorded with the run.

    With ``synthetic`` on the store's synthetic images instead, which are in no split: each shows
    the labels of its text and no other. The report says so, and these figures are kept apart.

    An image takes part when its labels are complete or some of them are known; unknown cells are
    ignored. ``split`` is "test" unless named; a ``protocol`` chooses it, and the labels, itself.
    With ``bootstrap``, mAP gets percentile intervals over that many resamples of the images, drawn
    with ``seed``. Zero-shot goes by the label prompts kept with the run. An image is scored
    with its region vectors where it has any; what is known of it never decides its score. Memory is
    bounded and no file is written, whatever the number of images and labels
    (:mod:`taistore.evaluation.split_figures`).

    Raises :class:`StoreError` on an unknown run or encoder, :class:`TrainingError` on a lost or
    unfit checkpoint, :class:`SyntheticError` where there is no synthetic image, and
    :class:`ScoringError` where the split holds nothing to evaluate on, the store is not what the
    protocol is about, or ``synthetic`` comes with a split or a protocol.
    """
    store = seen_by_run(store, store.run(run_id))
    scope = chosen_scope(store, split, protocol, synthetic=synthetic)
    scored = labelled_split(store, run_id, scope, device=device)
    figures = split_figures(scored, needs_negatives=needs_negatives(protocol), progress=progress)
    tally = figures.tally
    intervals = None
    if bootstrap:
        resamples = Resamples(tally.images, bootstrap, seed)
        columns = _columns(scored, figures, protocol, progress)
        intervals = _intervals(scored, columns, resamples, progress)
    ladder = {step: figures.found[scored.same_as(step)] for step in scored.steps}
    evaluation = Evaluation(
        run_id=scored.run.run_id,
        split=scope.split,
        protocol=protocol,
        images=tally.images,
        images_without_vectors=tally.without_vectors,
        images_with_regions=tally.with_regions,
        top=scored.steps[-1],
        ladder={str(step): found for step, found in ladder.items()},
        labels=_label_results(store, scope, tally.positives_N, ladder),
        intervals=intervals,
        warnings=(
            *_warnings(ladder, scored, tally),
            *_learnt_warning(store, scored),
            *(protocol.warnings(tally.images) if protocol else ()),
        ),
    )
    try:
        _record(store, scored.run, evaluation)
    except StoreError as error:
        # Figures are what was asked for; a store that may only be read still gives them.
        lost = f"these figures are not kept with the run: {error}"
        return replace(evaluation, warnings=(*evaluation.warnings, lost))
    return evaluation


def chosen_scope(
    store: Store, split: str | None, protocol: Protocol | None, *, synthetic: bool
) -> Scope:
    """What a split, a protocol, synthetic images or none of these stands for in a store."""
    if synthetic:
        if split is not None or protocol is not None:
            raise ScoringError(
                "synthetic images are in no split, and no protocol is about them: leave out "
                f"{'split=' if split is not None else 'protocol='}, or synthetic="
            )
        return Scope(split=None)
    return protocol.scope(store, split) if protocol else Scope(split=split or SPLIT)


def needs_negatives(protocol: Protocol | None) -> bool:
    """Whether only labels count that some image is known not to show."""
    return protocol is not None and protocol.needs_negatives


def _columns(
    scored: LabelledSplit, figures: SplitFigures, protocol: Protocol | None, progress: Progress
) -> Iterator[LabelColumns]:
    """The known cells of all labels: those that are there, else scored again block by block."""
    if figures.columns is not None:
        yield figures.columns
        return
    cells = label_columns.CELL_BYTES // bytes_a_cell(len(scored.kept_steps))
    for block in label_blocks(scored.most_N, cells=cells):
        yield filled_block(
            scored, block, needs_negatives=needs_negatives(protocol), progress=progress
        ).columns


def _intervals(
    scored: LabelledSplit,
    blocks: Iterable[LabelColumns],
    resamples: Resamples,
    progress: Progress,
) -> Intervals:
    means = {step: ResampledMean(resamples.count) for step in scored.kept_steps}
    for columns in blocks:
        with progress("bootstrap", total=len(means), unit="step") as bar:
            for step, mean in means.items():
                mean.add(resampled_precision(columns.all_labels(step), resamples))
                bar.advance()
        # Else it would be held while the next block is filled.
        del columns
    found = {step: interval(mean.values()) for step, mean in means.items()}
    return Intervals(
        samples=resamples.count,
        seed=resamples.seed,
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


def _warnings(ladder: dict[Step, Metrics], scored: LabelledSplit, tally: Tally) -> tuple[str, ...]:
    warnings = []
    value = {step: round(100 * found.mean_average_precision, 1) for step, found in ladder.items()}
    top = scored.steps[-1]
    if "adapter_global" in value and value["adapter_global"] < value["standardised"]:
        warnings.append(
            f"the adapter loses to standardised zero-shot, which needs no training: mAP "
            f"{value['adapter_global']:.1f} against {value['standardised']:.1f} on whole images. "
            "Give it more or more varied texts, or another radius"
        )
    if value[top] < value["zero_shot"]:
        warnings.append(
            f"step {top} loses to plain zero-shot: mAP {value[top]:.1f} against "
            f"{value['zero_shot']:.1f}"
        )
    command = "generate-images" if scored.scope.synthetic else "ingest-images"
    again = " --regions 7' again" if scored.scope.synthetic else "' on them again"
    if not scored.regions:
        warnings.append(
            "regions are left out: no image has region vectors. Store them with "
            f"'taistore {command} --regions 7'"
        )
    elif tally.with_regions < tally.images:
        warnings.append(
            f"only {tally.with_regions:,} of {tally.images:,} images have region vectors, the "
            f"others are scored as a whole: run 'taistore {command}{again}"
        )
    if tally.without_vectors:
        warnings.append(
            f"{tally.without_vectors:,} labelled {scored.scope.images} are left out, as they have "
            "no vector of this encoder: run 'taistore ingest-images' on them again"
        )
    return tuple(warnings)


def _learnt_warning(store: Store, scored: LabelledSplit) -> tuple[str, ...]:
    run = scored.run
    if not scored.scope.synthetic or not _learnt_from_synthetic(store, run.run_id, run.encoder_id):
        return ()
    return ("the run learnt from synthetic images: these figures are of what it was trained on",)


def _learnt_from_synthetic(store: Store, run_id: str, encoder_id: str) -> bool:
    """Whether synthetic images were read by a run, or by a member of it."""
    row = store.run(run_id)
    return store.table_name("synthetic_vectors", encoder_id) in row.table_versions or any(
        _learnt_from_synthetic(store, str(member), encoder_id)
        for member in row.config.get("members", ())
    )


def _record(store: Store, run: ScoringRun, evaluation: Evaluation) -> None:
    """Keep the ladder in the run's row, one entry per split and protocol; that of synthetic images
    apart from them."""
    found = evaluation.to_json()
    names = ("images", "regions_used", "images_with_regions", "ladder", "bootstrap", "warnings")
    kept = {name: found[name] for name in names if name in found}
    row = store.run(run.run_id)
    store.record_run(replace(row, metrics=evaluation.recorded(row.metrics, kept)))
