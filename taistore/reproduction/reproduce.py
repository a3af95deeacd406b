"""Run one of the paper's tables on the sets and weights that are there.

Everything is kept in a work folder: stores and runs that are there are used again.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import settle
from taistore.adapter.train import resume, train
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import canonical_spec, load_encoder
from taistore.errors import (
    EncoderError,
    LabelError,
    MissingExtraError,
    PluginError,
    ScoringError,
    TrainingError,
)
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.report import Evaluation
from taistore.progress import Note, Progress, no_progress
from taistore.reproduction.data_sets import FoundSet, MissingSet, find_set
from taistore.reproduction.integration import STEP, find_scores, integrated_run
from taistore.reproduction.set_stores import ReadyStore, ready_store
from taistore.reproduction.table_report import Reproduction, Row, SetResult
from taistore.reproduction.table_settings import check_scores, check_settings, setting_deviations
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import INTEGRATED, PAPER, ZERO_SHOT, Column, Table
from taistore.scoring.matrices.score_file import ScoreFile


def reproduce(
    table: Table,
    data: Path,
    *,
    work: Path,
    sets: Sequence[str] = (),
    encoder_spec: str | None = None,
    seeds: Sequence[int] = (0,),
    texts: TableTexts | None = None,
    methods: Sequence[str] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    scores: Path | None = None,
    regions: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress = no_progress,
    note: Note = lambda line: None,
) -> Reproduction:
    """Our figures for a table of arXiv:2312.04160, on those of its ``sets`` that ``data`` holds.

    ``sets``, ``methods`` and ``encoder_spec`` are the table's unless named; ``seeds`` are trained
    one by one. ``settings`` are fields of :class:`TrainConfig` that take the place of the paper's,
    in its method alone. ``scores`` is a folder of another system's scores, with which the paper's
    method is averaged as well (:mod:`taistore.reproduction.integration`). What is missing is said
    in a line each, through ``note`` as it is found and in the result; raises :class:`ScoringError`
    where nothing is left to run, or a method or setting is not the table's. Stopped and called
    again it goes on: images and texts are not encoded again, a run with the same settings is not
    trained again.
    """
    texts = texts or TableTexts()
    methods = tuple(dict.fromkeys(methods or table.methods))
    check_settings(table, methods, settings)
    check_scores(table, methods, scores)
    missing: list[str] = []

    def lacks(line: str) -> None:
        missing.append(line)
        note(f"missing: {line}")

    found = _find(table, data, sets or table.sets, lacks)
    spec = canonical_spec(encoder_spec or table.encoder)
    encoder = _load(spec, device, precision, lacks)
    if not found or encoder is None:
        raise ScoringError(f"{table.name}: nothing of it can be run: {'; '.join(missing)}")
    results = []
    for one in found:
        note(f"{one.name}: {one.folder}")
        ready = ready_store(
            one, encoder, work=work, texts=texts, regions=regions, progress=progress, note=note
        )
        note(f"{one.name}: {ready.counts}")
        if not table.test_only and ready.train_split is None:
            lacks(f"{one.name}: no image of {one.folder} is of a split to train on: name one train")
            continue
        others = find_scores(scores, one.name, table, ready.store.labels, lacks) if scores else {}
        cells = _Cells(
            table,
            one,
            ready,
            others=others,
            settings=settings,
            device=device,
            progress=progress,
            note=note,
        )
        results.append(cells.run(methods, seeds))
    if not results:
        raise ScoringError(f"{table.name}: nothing of it can be run: {missing[-1]}")
    return Reproduction(
        table=table,
        encoder=spec,
        texts=texts,
        settings=settings,
        seeds=tuple(seeds),
        sets=tuple(results),
        missing=tuple(missing),
        deviations=(
            *_encoder_deviations(table, spec),
            *texts.deviations(),
            *setting_deviations(table, methods, settings),
            *_alone(table, scores),
            *table.deviations,
        ),
    )


def _find(
    table: Table, data: Path, names: Sequence[str], lacks: Callable[[str], None]
) -> list[FoundSet]:
    if not data.is_dir():
        raise ScoringError(f"{data}: no such folder: name the one that holds the sets with data=")
    found = []
    for name in dict.fromkeys(names):
        try:
            one = find_set(data, name, training=not table.test_only)
        except LabelError as error:
            one = MissingSet(name, f"{name}: {error}")
        if isinstance(one, FoundSet):
            found.append(one)
        else:
            lacks(one.line)
    return found


def _load(spec: str, device: str, precision: str, lacks: Callable[[str], None]) -> Encoder | None:
    try:
        return load_encoder(spec, device=device, precision=precision)
    except (EncoderError, MissingExtraError, PluginError) as error:
        lacks(f"encoder {spec}: {error}")
        return None


def _encoder_deviations(table: Table, spec: str) -> list[str]:
    if spec == canonical_spec(table.encoder):
        return []
    return [f"encoder {spec} here, {table.encoder} in the paper: no figure compares directly"]


def _alone(table: Table, scores: Path | None) -> list[str]:
    if not table.integrated or scores is not None:
        return []
    return [
        f"*: the paper's figures are averaged with {table.integrated}'s scores; ours stand alone "
        "unless scores= names some"
    ]


class _Cells:
    """The trainings and evaluations of one set."""

    def __init__(
        self,
        table: Table,
        found: FoundSet,
        ready: ReadyStore,
        *,
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
        self._runs: dict[str, None] = {}
        self._trained = 0
        self._by_photos: dict[str, None] = {}

    def run(self, methods: Sequence[str], seeds: Sequence[int]) -> SetResult:
        rows: dict[str, list[list[float]]] = {method: [] for method in methods}
        steps = {PAPER: "adapter_logits"}
        integrated: list[list[float]] = []
        last: Evaluation | None = None
        for column in self._table.columns:
            integrated.append([])
            for method in methods:
                rows[method].append([])
                for seed in seeds:
                    run_id = self._trained_run(method, column, seed)
                    last = self._evaluated(run_id)
                    step = steps.setdefault(method, last.top)
                    rows[method][-1].append(_percent(last, step))
                    if method == PAPER:
                        integrated[-1].append(self._integrated(run_id, column))
        if last is None:
            raise ScoringError("no method and seed to run: name at least one of each")
        zero_shot = Row(
            method=ZERO_SHOT,
            step=ZERO_SHOT,
            values=((_percent(last, ZERO_SHOT),),) * len(self._table.columns),
        )
        trained: Iterable[Row] = (
            Row(method=method, step=steps[method], values=tuple(map(tuple, values)))
            for method, values in rows.items()
        )
        if self._others:
            row = Row(method=INTEGRATED, step=STEP, values=tuple(map(tuple, integrated)))
            trained = chain(trained, [row])
        return SetResult(
            name=self._found.name,
            folder=str(self._found.folder),
            store=self._ready.store.uri,
            split=last.split,
            images=last.images,
            labels=len(last.labels),
            counts=self._ready.counts,
            published_as=self._found.column,
            rows=(zero_shot, *trained),
            runs=tuple(self._runs),
            trained=self._trained,
            deviations=self._deviations(last),
        )

    def _trained_run(self, method: str, column: Column, seed: int) -> str:
        split = None if self._table.test_only else self._ready.train_split
        config = self._table.config(
            method, column, seed=seed, split=split, device=self._device, changes=self._settings
        )
        config = settle(self._ready.store, self._ready.encoder_id, config)
        if config.task == "zsl" and config.shift != "none":
            self._by_photos[method] = None
        self._note(f"{self._found.name}: {method}, {column.heading}, seed {seed}")
        run_id = self._run_of(config)
        self._runs[run_id] = None
        return run_id

    def _integrated(self, run_id: str, column: Column) -> float:
        """The run averaged with the other system's scores, NaN where there are none."""
        other = self._others.get(column.heading)
        if other is None:
            return math.nan
        ensemble = integrated_run(
            self._ready.store,
            run_id,
            other,
            split=self._ready.test_split,
            device=self._device,
            progress=self._progress,
        )
        return _percent(self._evaluated(ensemble), STEP)

    def _evaluated(self, run_id: str) -> Evaluation:
        return evaluate(
            self._ready.store,
            run_id,
            split=self._ready.test_split,
            protocol=self._found.protocol,
            device=self._device,
            progress=self._progress,
        )

    def _run_of(self, config: TrainConfig) -> str:
        """A finished run with these settings: one that is there, one that goes on, or a new one."""
        store, encoder_id = self._ready.store, self._ready.encoder_id
        wanted = _settings(config)
        unfinished = None
        for row in store.runs():
            if row.encoder_id == encoder_id and _recorded(row.config) == wanted:
                if row.status == "finished":
                    return row.run_id
                unfinished = row.run_id if row.status in ("running", "stopped") else None
        self._trained += 1
        if unfinished is not None:
            try:
                return resume(store, unfinished, progress=self._progress).run_id
            except TrainingError as error:
                self._note(f"run {unfinished} cannot go on ({error}): training it anew")
        return train(
            store,
            encoder_id,
            config,
            prompts_ND=self._ready.prompts_ND,
            progress=self._progress,
        ).run_id

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


def _settings(config: TrainConfig) -> dict[str, object]:
    """What decides a training's result; where it runs does not, to rounding."""
    values = config.to_json()
    del values["device"]
    return values


def _recorded(config: Mapping[str, object]) -> dict[str, object] | None:
    try:
        return _settings(TrainConfig.from_json(config))
    except (TrainingError, TypeError):
        return None


def _percent(evaluation: Evaluation, step: str) -> float:
    return 100 * evaluation.ladder[step].mean_average_precision
