"""Make a run out of runs: check that they fit, take the ranges of their scores, record it.

Shapes: D embedding dimension, N labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from taistore.adapter.run_files.run_folder import (
    beginning,
    keep_folder,
    new_folder,
    require_free,
    time_of_new_run,
)
from taistore.adapter.run_files.run_lock import written_alone
from taistore.errors import ScoringError
from taistore.progress import Progress, no_progress
from taistore.scoring.ensembles.ensemble import (
    MEMBER_STEPS,
    TASK,
    EnsembleCard,
    Member,
    Ranges,
    save_ensemble,
)
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.stored_images import some_have_regions, stored_batches
from taistore.stopping import StopRequested, held
from taistore.store.run_rows import RunRow
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleSummary:
    """A new ensemble: its members with their weights, and what their ranges were taken over."""

    run_id: str
    checkpoint: Path
    members: tuple[Member, ...]
    split: str | None
    images: int
    regions_used: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        values = asdict(self)
        return {**values, "checkpoint": str(self.checkpoint)}


def make_ensemble(
    store: Store,
    run_ids: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    split: str | None = None,
    device: str | torch.device = "cpu",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> EnsembleSummary:
    """Record a run that averages the scores of ``run_ids``, each scaled to [0, 1].

    The paper scales by the extremes of the whole test matrix (supplementary 8 of
    arXiv:2312.04160), which cannot stream. Here each member's extremes are taken, step by step,
    over the vectors of the store's images (of ``split``, where one is named) when the ensemble is
    made, and kept: an image's scores never depend on the images it is scored with. Labels play no
    part. ``weights`` are made to add up to 1; None weighs all alike. ``latest`` is an id too.

    Raises :class:`ScoringError` where members are fewer than two, given twice, of other encoders,
    or where there are no image vectors; and what
    :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    shares = _shares(run_ids, weights)
    ids = [store.run(run_id).run_id for run_id in run_ids]
    _require_different(ids)
    _require_one_encoder(store, ids)
    runs = [open_run(store, i, device=device) for i in ids]
    encoder_id = runs[0].encoder_id
    ranges, images, regions = _measure(store, runs, encoder_id, split=split, progress=progress)
    members = tuple(
        Member(
            run_id=run.run_id,
            weight=share,
            weights_digest=run.weights_digest,
            whole=found.ranges(regions=False),
            regions=found.ranges(regions=True) if regions else None,
        )
        for run, share, found in zip(runs, shares, ranges, strict=True)
    )
    # The card and the row belong together: a signal waits for both, and finds the run made.
    run_id = ""
    try:
        with held():
            run_id, folder = _write(store, encoder_id, members, split=split, images=images, out=out)
    except StopRequested as stop:
        if not run_id:
            raise
        stop.kept = f"run {run_id} is made"
        stop.go_on = ("evaluate", run_id, "--store", store.uri)
        raise
    return EnsembleSummary(
        run_id=run_id,
        checkpoint=folder,
        members=members,
        split=split,
        images=images,
        regions_used=regions,
    )


def _write(
    store: Store,
    encoder_id: str,
    members: tuple[Member, ...],
    *,
    split: str | None,
    images: int,
    out: Path | None,
) -> tuple[str, Path]:
    """Write the card, then the row; returns the run's id and its folder."""
    created = time_of_new_run(store)
    new = new_folder(store, TASK, out)
    run_id, folder, name = new
    card = EnsembleCard(
        run_id=run_id,
        encoder_id=encoder_id,
        label_keys=tuple(store.labels.keys),
        members=members,
        split=split,
        images=images,
        created=created.isoformat(),
    )
    read: list[tuple[str, str | None]] = [("labels", None), ("images", None)]
    read += [(kind, encoder_id) for kind in ("image_vectors", "region_vectors")]
    ids, weights = [m.run_id for m in members], [m.weight for m in members]
    row = RunRow(
        run_id=run_id,
        task=TASK,
        encoder_id=encoder_id,
        status="finished",
        seed=0,
        config={"task": TASK, "seed": 0, "members": ids, "weights": weights, "split": split},
        table_versions=store.versions(read),
        metrics={},
        checkpoint=name,
        created=created,
    )
    with written_alone(folder, run_id):
        require_free(folder)
        with beginning(new):
            save_ensemble(folder, card)
            keep_folder(store, name, folder)
            store.record_run(row)
    return run_id, folder


def _shares(run_ids: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    if len(run_ids) < 2:
        raise ScoringError("an ensemble has at least two members: name two runs or more")
    given = [1.0] * len(run_ids) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(run_ids):
        raise ScoringError(
            f"{len(given)} weights for {len(run_ids)} runs: give one for each, in their order"
        )
    wrong = [weight for weight in given if not (math.isfinite(weight) and weight > 0)]
    if wrong:
        raise ScoringError(f"weight {wrong[0]:g}: give numbers above 0, or leave the run out")
    return [weight / math.fsum(given) for weight in given]


def _require_different(ids: Sequence[str]) -> None:
    twice = [run_id for n, run_id in enumerate(ids) if run_id in ids[:n]]
    if twice:
        raise ScoringError(f"run {twice[0]} is given twice: give it a larger weight instead")


def _require_one_encoder(store: Store, ids: Sequence[str]) -> None:
    rows = [store.run(run_id) for run_id in ids]
    for row in rows[1:]:
        if row.encoder_id != rows[0].encoder_id:
            specs = [store.encoder(r.encoder_id).spec for r in (rows[0], row)]
            raise ScoringError(
                f"run {ids[0]} is for the encoder {specs[0]}, {row.run_id} for {specs[1]}: an "
                "ensemble has one encoder, so name runs of the same one"
            )


class _Extremes:
    """The lowest and highest scores met so far, by step and whether regions took part."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bool], tuple[float, float]] = {}

    def see(self, scores: Mapping[Any, torch.Tensor], *, regions: bool) -> None:
        for step, scores_BN in scores.items():
            low, high = self._found.get((step, regions), (math.inf, -math.inf))
            least, most = (float(value) for value in scores_BN.aminmax())
            self._found[step, regions] = (min(low, least), max(high, most))

    def ranges(self, *, regions: bool) -> Ranges:
        return {str(step): self._found[step, regions] for step in MEMBER_STEPS}


def _measure(
    store: Store,
    runs: Sequence[ScoringRun],
    encoder_id: str,
    *,
    split: str | None,
    progress: Progress,
) -> tuple[list[_Extremes], int, bool]:
    """Each run's extremes, over how many images, and whether with their regions too."""
    where = None if split is None else {"split": split}
    regions = some_have_regions(store, encoder_id, where=where)
    found = [_Extremes() for _ in runs]
    images = 0
    batches = stored_batches(store, encoder_id, columns=(), regions=regions, where=where)
    with progress("ranges of scores", total=None, unit="image") as bar:
        for batch in batches:
            count = batch.rows.num_rows
            images += count
            for run, extremes in zip(runs, found, strict=True) if count else ():
                whole = run.ladder.scores(batch.whole_BD, steps=MEMBER_STEPS)
                extremes.see(whole, regions=False)
                if batch.regions_BRD is not None:
                    fused = run.ladder.scores(batch.whole_BD, batch.regions_BRD, steps=MEMBER_STEPS)
                    extremes.see(fused, regions=True)
            bar.advance(count)
    if not images:
        of = "" if split is None else f" of split {split!r}"
        raise ScoringError(
            f"{store.uri}: no image{of} has a vector of {store.encoder(encoder_id).spec}, over "
            "which to scale the scores: add images with 'taistore ingest-images'"
        )
    return found, images, regions
