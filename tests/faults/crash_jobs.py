"""The jobs that are killed: what each needs, what it does, how a person goes on after a kill.

A job works in a folder ``here``, where its store and its files lie, and reads photos, captions and
vectors from the folder ``given``, which no kill touches.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import taistore
from taistore.errors import ScoringError
from taistore.images.sources.open_source import open_source
from taistore.project import Project
from taistore.store import maintenance
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.store.test_migrations import version_1

NAMES = tuple(COLOURS)
PHOTOS = 12
SPEC = "colours"
SPLIT = "train"


@dataclass(frozen=True, slots=True)
class Job:
    """``prepare`` makes what ``run`` starts from; ``again`` is what a person does after a kill."""

    prepare: Callable[[Path, Path], object]
    run: Callable[[Path, Path], object]
    again: Callable[[Path, Path], object]


def make_given(given: Path) -> None:
    """Photos (one broken), their manifest, captions and image vectors."""
    photos = given / "photos"
    photos.mkdir(parents=True)
    rows = []
    for n in range(PHOTOS):
        pair = [NAMES[n % 6], NAMES[(n * 5 + 1) % 6]] if n % 3 else [NAMES[n % 6]]
        colour_image(*pair, size=(40 + n, 30)).save(photos / f"{n:02d}.png")
        rows.append({"image": f"{n:02d}.png", "labels": pair, "split": SPLIT})
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    rows.append({"image": "broken.png"})
    for name, some in (("first.jsonl", rows[:5]), ("all.jsonl", rows)):
        (photos / name).write_text("\n".join(map(json.dumps, some)), encoding="utf-8")
    captions = [f"a {name} box on the floor" for name in NAMES] + ["nothing at all"]
    (given / "captions.txt").write_text("\n".join(captions), encoding="utf-8")
    made = [{"text": captions[n % 6], "image": f"photos/{n:02d}.png"} for n in range(PHOTOS + 1)]
    (given / "made.jsonl").write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    vectors = np.random.default_rng(3).standard_normal((20, 16)).astype(np.float32)
    vectors[4] = np.nan
    np.save(given / "vectors.npy", vectors)
    ids = [f"image {n}" for n in range(len(vectors))]
    (given / "vectors.txt").write_text("\n".join(ids), encoding="utf-8")


def opened(here: Path) -> Project:
    """The store in ``here``, with the encoder of colours."""
    taistore.register_encoder(SPEC, ColourEncoder)
    return taistore.open(here / "store")


def _generate_images(here: Path, given: Path) -> None:
    opened(here).generate_images(writer="folder", images=given / "made.jsonl", regions=2)


def _with_captions(here: Path, given: Path) -> None:
    _init(here, given)
    _ingest_texts(here, given)


def _nothing(here: Path, given: Path) -> None:
    here.mkdir()


def _init(here: Path, given: Path) -> None:
    here.mkdir(exist_ok=True)
    taistore.register_encoder(SPEC, ColourEncoder)
    taistore.create(here / "store", labels=list(NAMES[:6]), encoder=SPEC)


def _ingest_images(here: Path, given: Path, manifest: str = "all.jsonl") -> None:
    opened(here).ingest_images(given / "photos" / manifest, regions=2, batch_size=4)


def _with_some_images(here: Path, given: Path) -> None:
    _init(here, given)
    _ingest_images(here, given, "first.jsonl")


def _ingest_texts(here: Path, given: Path) -> None:
    opened(here).ingest_texts(given / "captions.txt")


def _generate_texts(here: Path, given: Path, count: int = 60) -> None:
    opened(here).generate_texts(count)


def _with_some_texts(here: Path, given: Path) -> None:
    _init(here, given)
    _generate_texts(here, given, 30)


def _ingest_vectors(here: Path, given: Path) -> None:
    opened(here).ingest_image_vectors(given / "vectors.npy", name="own", split=SPLIT)


def _with_vectors(here: Path, given: Path) -> None:
    _init(here, given)
    _ingest_vectors(here, given)


def _remove_encoder(here: Path, given: Path) -> None:
    project = opened(here)
    if any(one.info.spec == "vectors:own" for one in project.encoders()):
        project.remove_encoder("own", apply=True)


def _with_all(here: Path, given: Path) -> None:
    _init(here, given)
    _generate_texts(here, given)
    _ingest_images(here, given)


def _centroids(here: Path, given: Path) -> None:
    opened(here).centroids(split=SPLIT, plots=here / "plots")


def _training(task: str) -> tuple[Callable[[Path, Path], None], Callable[[Path, Path], None]]:
    settings: dict[str, Any] = {"task": task, "epochs": 3, "batch": 32, "hidden": 8}
    if task == "fsl":
        settings["shots"] = 1

    def run(here: Path, given: Path) -> None:
        opened(here).train(**settings)

    def again(here: Path, given: Path) -> None:
        project = opened(here)
        runs = project.runs()
        if not runs:
            project.train(**settings)
        elif runs[-1].status != "finished":
            project.resume()

    return run, again


def _with_two_runs(here: Path, given: Path) -> None:
    _with_all(here, given)
    for seed in (0, 1):
        opened(here).train(epochs=1, seed=seed)


def _ensemble(here: Path, given: Path) -> None:
    project = opened(here)
    members = [run for run in project.runs() if run.task != "ensemble"]
    if len(project.runs()) == len(members):
        project.ensemble(members, split=SPLIT)


def _score_photos(here: Path, given: Path) -> None:
    project = opened(here)
    source = open_source(given / "photos" / "all.jsonl", project.labels)
    _scored(here / "tags.csv", project, source)


def _score_store(here: Path, given: Path) -> None:
    _scored(here / "tags.parquet", opened(here), None)


def _scored(out: Path, project: Project, source: Any) -> None:
    from taistore.scoring.score import score

    encoder = None if source is None else project.encoder()
    run = project.run().run_id
    try:
        score(project.store, run, source, out, encoder=encoder, batch_size=4, top_k=3)
    except ScoringError as error:
        # Killed when all was done: whoever runs it again is told so.
        if "is there already, finished" not in str(error):
            raise


def _with_tags(here: Path, given: Path) -> None:
    _with_two_runs(here, given)
    _score_store(here, given)


def _page(here: Path, given: Path) -> None:
    opened(here).page(here / "tags.parquet", here / "page.html")


def _with_many_commits(here: Path, given: Path) -> None:
    _init(here, given)
    for count in (20, 30, 40, 50):
        _generate_texts(here, given, count)
    _ingest_images(here, given, "first.jsonl")
    _ingest_images(here, given)


def _optimize(here: Path, given: Path) -> None:
    # An index as a large table has it.
    maintenance.MIN_INDEXED_ROWS = 10
    opened(here).optimize(keep_days=0)


def _old_store(here: Path, given: Path) -> None:
    here.mkdir()
    version_1(here / "store")


def _upgrade(here: Path, given: Path) -> None:
    Project.upgrade(here / "store")


def _same(prepare: Callable[[Path, Path], object], run: Callable[[Path, Path], object]) -> Job:
    return Job(prepare, run, run)


JOBS = {
    "init": _same(_nothing, _init),
    "ingest-images": _same(_init, _ingest_images),
    "ingest-images, more": _same(_with_some_images, _ingest_images),
    "ingest-texts": _same(_init, _ingest_texts),
    "generate-texts": _same(_init, _generate_texts),
    "generate-texts, more": _same(_with_some_texts, _generate_texts),
    "generate-images": _same(_with_captions, _generate_images),
    "ingest-vectors": _same(_init, _ingest_vectors),
    "encoders rm": _same(_with_vectors, _remove_encoder),
    "centroids": _same(_with_all, _centroids),
    "train zsl": Job(_with_all, *_training("zsl")),
    "train fsl": Job(_with_all, *_training("fsl")),
    "train pll": Job(_with_all, *_training("pll")),
    "ensemble": _same(_with_two_runs, _ensemble),
    "score photos": _same(_with_two_runs, _score_photos),
    "score store": _same(_with_two_runs, _score_store),
    "page": _same(_with_tags, _page),
    "optimize": _same(_with_many_commits, _optimize),
    "upgrade": _same(_old_store, _upgrade),
}
"""By name; two are done on empty tables and on tables that hold rows, which are written apart."""
