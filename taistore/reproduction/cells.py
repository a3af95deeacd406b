"""The trainings and evaluations behind a table, on one set."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from taistore.adapter.data import settle
from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.report import Evaluation
from taistore.progress import Note, Progress
from taistore.prompting.prompt_config import Method
from taistore.reproduction.data_sets import FoundSet
from taistore.reproduction.integration import DPT_STEP, STEP, integrated_run, learner_scores
from taistore.reproduction.set_stores import ReadyStore
from taistore.reproduction.table_report import Row, SetResult
from taistore.reproduction.table_runs import TableRuns
from taistore.reproduction.tables import (
    AVERAGED,
    INTEGRATED,
    PAPER,
    ZERO_SHOT,
    Column,
    Table,
)
from taistore.scoring.matrices.score_file import ScoreFile


class Cells:
    """Fills the cells of a table on one set: trains, evaluates, averages with the other system.

    ``others`` are that system's scores by column where files of them were given.
    """

    def __init__(
        self,
        table: Table,
        found: FoundSet,
        ready: ReadyStore,
        *,
        encoder: Encoder,
        others: Mapping[str, ScoreFile],
        settings: Mapping[str, Any],
        device: str,
        progress: Progress,
        note: Note,
    ) -> None:
        self._others = others
        self._table = table
        self._found = found
        self._ready = ready
        self._settings = settings
        self._device = device
        self._progress = progress
        self._note = note
        self._runs = TableRuns(ready, encoder, progress=progress, note=note)
        self._by_photos: dict[str, None] = {}

    def run(self, methods: Sequence[str], seeds: Sequence[int]) -> SetResult:
        """All columns of ``methods``, by seed; raises :class:`ScoringError` where there is none."""
        values: dict[str, list[list[float]]] = {}
        steps: dict[str, str] = {PAPER: "adapter_logits", INTEGRATED: STEP}
        last: Evaluation | None = None
        for column in self._table.columns:
            for seed in seeds:
                ids: dict[str, str] = {}
                for method in methods:
                    ids[method] = self._trained_run(method, column, seed)
                    last = self._evaluated(ids[method])
                    step = steps.setdefault(method, last.top)
                    cell = _cell(values, method, column, self._table)
                    cell.append(_percent(last, step))
                for method, figure in self._averages(ids, column).items():
                    _cell(values, method, column, self._table).append(figure)
        if last is None:
            raise ScoringError("no method and seed to run: name at least one of each")
        zero_shot = Row(
            method=ZERO_SHOT,
            step=ZERO_SHOT,
            values=((_percent(last, ZERO_SHOT),),) * len(self._table.columns),
        )
        steps |= dict.fromkeys(AVERAGED.values(), DPT_STEP)
        trained = [
            Row(method=method, step=steps[method], values=tuple(map(tuple, columns)))
            for method, columns in values.items()
        ]
        return SetResult(
            name=self._found.name,
            folder=str(self._found.folder),
            store=self._ready.store.uri,
            split=self._ready.test_split,
            images=last.images,
            labels=len(last.labels),
            counts=self._ready.counts,
            published_as=self._found.column,
            rows=(zero_shot, *trained),
            runs=tuple(self._runs.used),
            trained=self._runs.trained,
            deviations=self._deviations(last),
        )

    def _trained_run(self, method: str, column: Column, seed: int) -> str:
        split = None if self._table.test_only else self._ready.train_split
        self._note(f"{self._found.name}: {method}, {column.heading}, seed {seed}")
        learner: Method | None = next((m for m in self._table.learners if m == method), None)
        if learner is not None:
            config = self._table.learner_config(
                learner, column, seed=seed, split=split, like=self._found.column
            )
            return self._runs.of_learner(config)
        chosen = self._table.config(
            method, column, seed=seed, split=split, device=self._device, changes=self._settings
        )
        chosen = settle(self._ready.store, self._ready.encoder_id, chosen)
        if chosen.task == "zsl" and chosen.shift != "none":
            self._by_photos[method] = None
        return self._runs.of_adapter(chosen)

    def _averages(self, ids: Mapping[str, str], column: Column) -> dict[str, float]:
        """The integrated methods by name, NaN where the other system's scores are missing."""
        averaged = {PAPER, *AVERAGED}.intersection(ids)
        if not averaged or (not self._others and self._table.other not in ids):
            return {}
        found: dict[str, float] = {}
        with self._other_scores(ids, column) as scores:
            if PAPER in ids:
                found[INTEGRATED] = self._average(ids[PAPER], scores, STEP)
            for learner, name in AVERAGED.items():
                if learner in ids:
                    share = self._table.share
                    found[name] = self._average(ids[learner], scores, DPT_STEP, share=share)
        return found

    def _other_scores(
        self, ids: Mapping[str, str], column: Column
    ) -> AbstractContextManager[ScoreFile | None]:
        trained = ids.get(self._table.other or "")
        if trained is None:
            return nullcontext(self._others.get(column.heading))
        return learner_scores(
            self._ready.store,
            trained,
            split=self._ready.test_split,
            device=self._device,
            progress=self._progress,
        )

    def _average(
        self, run_id: str, scores: ScoreFile | None, step: str, *, share: float | None = None
    ) -> float:
        """mAP of a run averaged with these scores: by the paper's rule, or with a ``share``."""
        if scores is None:
            return math.nan
        ensemble = integrated_run(
            self._ready.store,
            run_id,
            scores,
            rule="paper" if share is None else "scaled",
            share=0.5 if share is None else share,
            split=self._ready.test_split,
            device=self._device,
            progress=self._progress,
        )
        return _percent(self._evaluated(ensemble), step)

    def _evaluated(self, run_id: str) -> Evaluation:
        return evaluate(
            self._ready.store,
            run_id,
            split=self._ready.test_split,
            protocol=self._found.protocol,
            device=self._device,
            progress=self._progress,
        )

    def _deviations(self, last: Evaluation) -> tuple[str, ...]:
        found = []
        protocol = self._found.protocol
        if protocol is not None:
            found += list(protocol.warnings(last.images))
        else:
            other = self._found.column
            found.append(
                "not a set of the paper: none of its figures stands beside"
                if other is None
                else f"other images than the paper's {other}: its figures are for orientation only"
            )
        found += [
            f"{method} is transductive: its texts were moved to where the photos of the store lie, "
            "with those that it is tested on; no label of theirs was read"
            for method in self._by_photos
        ]
        if self._ready.made_split:
            found.append(
                "the set names no splits: tested on one half, by a seeded hash of the images' "
                "contents; the other half is for training, where the table needs images"
            )
        return tuple(found)


def _cell(
    values: dict[str, list[list[float]]], method: str, column: Column, table: Table
) -> list[float]:
    """Where the figures of a method and column are collected."""
    columns = values.setdefault(method, [[] for _ in table.columns])
    return columns[table.columns.index(column)]


def _percent(evaluation: Evaluation, step: str) -> float:
    return 100 * evaluation.ladder[step].mean_average_precision
