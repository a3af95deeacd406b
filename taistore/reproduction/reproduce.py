"""Run one of the paper's tables on the sets and weights that are there.

Everything is kept in a work folder: stores and runs that are there are used again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from taistore.encoders.prompt_tower import prompt_tower
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import canonical_spec, load_encoder
from taistore.errors import (
    EncoderError,
    LabelError,
    MissingExtraError,
    PluginError,
    ScoringError,
)
from taistore.progress import Note, Progress, no_progress
from taistore.reproduction.cells import Cells
from taistore.reproduction.data_sets import FoundSet, MissingSet, find_set
from taistore.reproduction.integration import find_scores
from taistore.reproduction.set_stores import ready_store, store_folder
from taistore.reproduction.set_turns import set_turn
from taistore.reproduction.synthetic_tables.table_images import TableImages
from taistore.reproduction.table_report import Reproduction
from taistore.reproduction.table_settings import (
    check_images,
    check_learners,
    check_scores,
    check_settings,
    setting_deviations,
)
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import Table


def reproduce(
    table: Table,
    data: Path,
    *,
    work: Path,
    sets: Sequence[str] = (),
    encoder_spec: str | None = None,
    seeds: Sequence[int] = (0,),
    texts: TableTexts | None = None,
    images: TableImages | None = None,
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

    ``sets``, ``methods`` and ``encoder_spec`` are the table's unless named; a prompt learner among
    the methods is trained, and takes the place of ``scores``; ``seeds`` are trained
    one by one. ``settings`` are fields of :class:`TrainConfig` that take the place of the paper's,
    in its method alone. ``scores`` is a folder of another system's scores, with which the paper's
    method is averaged as well (:mod:`taistore.reproduction.integration`). What is missing is said
    in a line each, through ``note`` as it is found and in the result; raises :class:`ScoringError`
    where nothing is left to run, or a method or setting is not the table's. Stopped and called
    again it goes on: images and texts are not encoded again, a run with the same settings is not
    trained again. Of two processes on one set and ``work`` the second waits for the first.
    """
    texts = texts or TableTexts()
    methods = tuple(dict.fromkeys(methods or table.methods))
    check_settings(table, methods, settings)
    check_scores(table, methods, scores)
    check_learners(table, methods, regions)
    check_images(table, images)
    missing: list[str] = []

    def lacks(line: str) -> None:
        missing.append(line)
        note(f"missing: {line}")

    found = _find(table, data, sets or table.sets, lacks)
    spec = canonical_spec(encoder_spec or table.encoder)
    encoder = _load(spec, device, precision, lacks)
    if not found or encoder is None:
        raise ScoringError(f"{table.name}: nothing of it can be run: {'; '.join(missing)}")
    if set(methods) & set(table.learners):
        prompt_tower(encoder)
    results = []
    for one in found:
        note(f"{one.name}: {one.folder}")
        path = store_folder(one, encoder, work=work, texts=texts, images=images, regions=regions)
        with set_turn(path, note=note):
            ready = ready_store(
                path,
                one,
                encoder,
                texts=texts,
                images=images,
                regions=regions,
                progress=progress,
                note=note,
            )
            note(f"{one.name}: {ready.counts}")
            if not table.test_only and ready.train_split is None:
                lacks(
                    f"{one.name}: no image of {one.folder} is of a split to train on: name one "
                    "train"
                )
                continue
            labels = ready.store.labels
            others = find_scores(scores, one.name, table, labels, lacks) if scores else {}
            cells = Cells(
                table,
                one,
                ready,
                encoder=encoder,
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
        images=images,
        deviations=(
            *_encoder_deviations(table, spec),
            *texts.deviations(),
            *(images.deviations() if images is not None else ()),
            *setting_deviations(table, methods, settings),
            *_alone(table, methods, scores),
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


def _alone(table: Table, methods: Sequence[str], scores: Path | None) -> list[str]:
    if not table.integrated or scores is not None or table.other in methods:
        return []
    return [
        f"*: the paper's figures are averaged with {table.integrated}'s scores; ours stand alone "
        f"unless scores= names some, or method={table.other} trains it"
    ]
