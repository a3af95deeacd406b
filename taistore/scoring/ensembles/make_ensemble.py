"""Make a run out of runs: check that they fit, take the ranges of their scores, record it.

Shapes: D embedding dimension, N labels.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.run_files.run_folder import (
    NewRun,
    beginning,
    keep_folder,
    new_folder,
    require_free,
    time_of_new_run,
)
from taistore.adapter.run_files.run_lock import written_alone
from taistore.defaults import SPLIT
from taistore.errors import ScoringError
from taistore.progress import Progress, no_progress
from taistore.scoring.ensembles.ensemble import (
    MEMBER_STEPS,
    RULES,
    TASK,
    EnsembleCard,
    Member,
    Ranges,
    Rule,
    save_ensemble,
)
from taistore.scoring.ensembles.imported_scores import (
    ImportedPart,
    discard_scores,
    keep_scores,
    split_rows,
)
from taistore.scoring.ensembles.membership import (
    require_different,
    require_one_encoder,
    require_plain,
    shares_of,
)
from taistore.scoring.ensembles.probabilities import ProbabilityLadder
from taistore.scoring.ladders.ladder import Ladder
from taistore.scoring.loaded_run import open_run, probability_ladder
from taistore.scoring.matrices.score_file import ScoreFile
from taistore.scoring.stored_images import some_have_regions, stored_batches
from taistore.stopping import StopRequested, held
from taistore.store.run_rows import RunRow
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleSummary:
    """A new ensemble: its members with their weights, and what their ranges were taken over."""

    run_id: str
    checkpoint: Path
    rule: Rule
    members: tuple[Member, ...]
    imported: ImportedPart | None
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
    rule: Rule = "scaled",
    scores: ScoreFile | None = None,
    weights: Sequence[float] | None = None,
    split: str | None = None,
    device: str | torch.device = "cpu",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> EnsembleSummary:
    """Record a run that averages the scores of ``run_ids``, and of another system's ``scores``.

    ``rule`` "scaled" scales every member's scores of a step to [0, 1]; "paper" is supplementary 8
    of arXiv:2312.04160: the first run gives its probabilities, the others and ``scores`` are
    scaled. A range is that of the whole matrix over the store's images (of ``split``, where one is
    named; with ``scores`` or the paper's rule "test" unless named), taken when the ensemble is
    made and kept: an image's scores never depend on the images it is scored with. Labels play no
    part. ``weights``, of the runs and then of ``scores``, are made to add up to 1; None weighs all
    alike. ``latest`` is an id too. With ``scores`` only images that have them can be scored.

    Raises :class:`ScoringError` where members are fewer than two, given twice, of other encoders,
    or where there are no image vectors; and what :func:`~taistore.scoring.loaded_run.open_run` and
    :mod:`taistore.scoring.ensembles.imported_scores` raise.
    """
    shares = shares_of(run_ids, weights, imported=scores is not None)
    ids = [store.run(run_id).run_id for run_id in run_ids]
    require_different(ids)
    require_one_encoder(store, ids)
    if split is None and (scores is not None or rule == "paper"):
        split = SPLIT
    runs = [open_run(store, i, device=device) for i in ids]
    require_plain(runs)
    store = runs[0].store
    for run in runs:
        if run.store.labels.keys != store.labels.keys:
            raise ScoringError(
                f"runs {runs[0].run_id} and {run.run_id} are of different labels: average runs of "
                "the same"
            )
    # Before anything is scored: a file that does not fit is told at once.
    rows = None if scores is None else split_rows(store, scores, split=split or SPLIT)
    ladders = [run.ladder for run in runs]
    if rule == "paper":
        ladders[0] = probability_ladder(runs[0], device=device)
    encoder_id = runs[0].encoder_id
    found = _measure(store, ladders, encoder_id, split=split, progress=progress)
    members = tuple(
        Member(
            run_id=run.run_id,
            weight=share,
            weights_digest=run.weights_digest,
            whole=extremes.ranges(regions=False),
            regions=extremes.ranges(regions=True) if found.regions else None,
        )
        for run, share, extremes in zip(runs, shares, found.extremes, strict=False)
    )
    new = new_folder(store, TASK, out)
    imported = None
    if scores is not None and rows is not None:
        imported = _imported(new, scores, rows, weight=shares[-1], progress=progress)
    card = EnsembleCard(
        run_id=new.run_id,
        encoder_id=encoder_id,
        label_keys=tuple(store.labels.keys),
        members=members,
        split=split,
        images=found.images,
        created=time_of_new_run(store).isoformat(),
        rule=RULES[rule],
        rule_name=rule,
        imported=imported,
    )
    _record(store, new, card, scores)
    return EnsembleSummary(
        run_id=new.run_id,
        checkpoint=new.folder,
        rule=rule,
        members=members,
        imported=imported,
        split=split,
        images=found.images,
        regions_used=found.regions,
    )


def _record(store: Store, new: NewRun, card: EnsembleCard, scores: ScoreFile | None) -> None:
    """Write the card and the row, which belong together: a signal waits for both, and finds the
    run made."""
    made = False
    try:
        with held():
            _write(store, new, card, scores)
            made = True
    except StopRequested as stop:
        if not made:
            _discard(new)
            raise
        stop.kept = f"run {new.run_id} is made"
        stop.go_on = ("evaluate", new.run_id, "--store", store.uri)
        raise


def _imported(
    new: NewRun,
    scores: ScoreFile,
    rows: NDArray[np.bytes_],
    *,
    weight: float,
    progress: Progress,
) -> ImportedPart:
    """Keep another system's scores in the folder of the run; what ends this removes both."""
    require_free(new.folder)
    try:
        return keep_scores(scores, rows, new.folder, weight=weight, progress=progress)
    except BaseException:
        _discard(new)
        raise


def _discard(new: NewRun) -> None:
    """Leave nothing of a run that was not made."""
    discard_scores(new.folder)
    with contextlib.suppress(OSError):
        new.folder.rmdir()


def _write(store: Store, new: NewRun, card: EnsembleCard, scores: ScoreFile | None) -> None:
    """Write the card, then the row."""
    read: list[tuple[str, str | None]] = [("labels", None), ("images", None)]
    read += [(kind, card.encoder_id) for kind in ("image_vectors", "region_vectors")]
    config: dict[str, Any] = {
        "task": TASK,
        "seed": 0,
        "rule": card.rule_name,
        "members": [member.run_id for member in card.members],
        "weights": [member.weight for member in card.members],
        "split": card.split,
    }
    if card.imported is not None:
        config |= {"scores": card.imported.source, "scores_weight": card.imported.weight}
    if scores is not None:
        config["scores_digest"] = scores.digest()
    row = RunRow(
        run_id=new.run_id,
        task=TASK,
        encoder_id=card.encoder_id,
        status="finished",
        seed=0,
        config=config,
        table_versions=store.versions(read),
        metrics={},
        checkpoint=new.checkpoint,
        created=datetime.fromisoformat(card.created),
    )
    try:
        with written_alone(new.locked, new.run_id):
            require_free(new.folder)
            with beginning(new):
                save_ensemble(new.folder, card)
                keep_folder(store, new.checkpoint, new.folder)
                store.record_run(row)
    except Exception:
        discard_scores(new.folder)
        raise


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
        """Of each step; probabilities, of which nothing was seen, have a range already."""
        return {str(step): self._found.get((step, regions), (0.0, 1.0)) for step in MEMBER_STEPS}


@dataclass(frozen=True, slots=True)
class _Measured:
    """Each run's extremes, over how many images, and whether with their regions too."""

    extremes: list[_Extremes]
    images: int
    regions: bool


def _measure(
    store: Store,
    ladders: Sequence[Ladder],
    encoder_id: str,
    *,
    split: str | None,
    progress: Progress,
) -> _Measured:
    where = None if split is None else {"split": split}
    regions = some_have_regions(store, encoder_id, where=where)
    found = [_Extremes() for _ in ladders]
    images = 0
    batches = stored_batches(store, encoder_id, columns=(), regions=regions, where=where)
    with progress("ranges of scores", total=None, unit="image") as bar:
        for batch in batches:
            count = batch.rows.num_rows
            images += count
            for ladder, extremes in zip(ladders, found, strict=True) if count else ():
                if isinstance(ladder, ProbabilityLadder):
                    continue
                whole = ladder.member_scores(batch.whole_BD, steps=MEMBER_STEPS)
                extremes.see(whole, regions=False)
                if batch.regions_BRD is not None:
                    fused = ladder.member_scores(
                        batch.whole_BD, batch.regions_BRD, steps=MEMBER_STEPS
                    )
                    extremes.see(fused, regions=True)
            bar.advance(count)
    if not images:
        of = "" if split is None else f" of split {split!r}"
        raise ScoringError(
            f"{store.uri}: no image{of} has a vector of {store.encoder(encoder_id).spec}, over "
            "which to scale the scores: add images with 'taistore ingest-images'"
        )
    return _Measured(found, images, regions)
