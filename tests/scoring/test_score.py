"""Scoring a folder and a store: right tags, streaming, resumable, bad images set aside."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.errors import ScoringError
from taistore.images.sources.open_source import open_source
from taistore.progress import ProgressBar, no_progress
from taistore.scoring.ladders.competition import Competition
from taistore.scoring.ladders.ladder import Ladder, confidence
from taistore.scoring.score import score
from taistore.scoring.tags import tag_parts as parts_module
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.rejects import Reject
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import (
    LOGIT_ENERGY,
    LOGIT_SPREAD,
    NAMES,
    PICTURES,
    add_images,
    add_pictures,
    add_run,
    image_row,
    new_store,
    prompts,
    run_path,
)


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    store = new_store(tmp_path / "store", encoder)
    add_run(store, encoder)
    return store


def tags(path: Path) -> dict[str, list[tuple[str, float]]]:
    """(label name, score) of each file name, by rank."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in read_tags(path):
        entry = found.setdefault(Path(row["uri"]).name, [])
        entry.append((row["label_name"], row["score"]))
        assert row["rank"] == len(entry)
        assert row["label_key"] == row["label_name"].upper()
    return found


def expected_ensemble(store: Store, encoder: ColourEncoder, grid: int) -> np.ndarray[Any, Any]:
    """Ensemble scores [I, N] of all pictures without store or job."""
    pixels = np.stack([encoder.prepare(colour_image(*colours)) for colours in PICTURES])
    vectors = encoder.encode_images(pixels, regions=grid)
    assert vectors.regions is not None
    competition = Competition.over_texts(spread=LOGIT_SPREAD, energy=LOGIT_ENERGY)
    adapter = load_adapter(run_path(store))
    ladder = Ladder(prompts(encoder), adapter.logits, competition=competition)
    halves = vectors.whole.astype(np.float16), vectors.regions.astype(np.float16)
    scores = ladder.scores(*halves, steps=["ensemble"])["ensemble"]
    return np.asarray(confidence("ensemble", scores))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_folder_gets_the_tags_of_the_ladders_top(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"tags{suffix}"
    summary = score(
        store,
        "run-1",
        open_source(photos, store.labels),
        out,
        encoder=encoder,
        top_k=3,
        regions=2,
        batch_size=5,
    )
    expected = expected_ensemble(store, encoder, 2)
    found = tags(out)
    assert len(found) == len(PICTURES) == summary.images
    for values, (name, entry) in zip(expected, sorted(found.items()), strict=True):
        best = np.argsort(-values, kind="stable")[:3]
        assert [label for label, _ in entry] == [NAMES[n] for n in best], name
        np.testing.assert_allclose([value for _, value in entry], values[best], rtol=1e-4)
    assert (summary.tags, summary.step, summary.regions_used) == (36, "ensemble", True)
    assert store.count("images") == 0


def test_the_store_gets_the_same_tags_without_an_encoder(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder, grid=2)
    out = tmp_path / "tags.parquet"
    summary = score(store, "run-1", None, out, top_k=2, known="ignore")
    expected = expected_ensemble(store, encoder, 2)
    assert summary.regions_used
    for values, (_, entry) in zip(expected, sorted(tags(out).items()), strict=True):
        best = np.argsort(-values, kind="stable")[:2]
        assert [label for label, _ in entry] == [NAMES[n] for n in best]
        np.testing.assert_allclose([value for _, value in entry], values[best], atol=0.01)


def test_scoring_writes_nothing_to_the_store(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    add_pictures(store, encoder)

    def versions() -> dict[str, int]:
        named = [name.partition("__")[::2] for name in store.table_names() if name != "runs"]
        return store.versions([(kind, encoder_id or None) for kind, encoder_id in named])

    before = versions()
    for name, source in (("store", None), ("photos", open_source(photos, store.labels))):
        store.register_encoder(encoder.info)
        score(store, "run-1", source, tmp_path / f"{name}.csv", encoder=encoder, regions=0)
    assert versions() == before


def test_a_threshold_leaves_some_images_without_tags(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder, grid=2)
    every = tmp_path / "every.csv"
    score(store, "run-1", None, every, threshold=0.0, step="regions", known="ignore")
    values = sorted(value for entry in tags(every).values() for _, value in entry)
    assert len(values) == len(PICTURES) * len(NAMES)
    unlike = sorted(set(values))
    threshold = (unlike[-3] + unlike[-4]) / 2
    some = tmp_path / "some.csv"
    summary = score(
        store,
        "run-1",
        None,
        some,
        top_k=None,
        threshold=threshold,
        step="regions",
        known="ignore",
    )
    assert sorted(v for entry in tags(some).values() for _, v in entry) == [
        value for value in values if value > threshold
    ]
    assert summary.without_tags > 0
    assert summary.images == len(PICTURES) == summary.without_tags + len(tags(some))


def test_bad_images_are_set_aside_and_the_rest_is_scored(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    (photos / "0000 broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (photos / "0001 empty.jpg").write_bytes(b"")
    out = tmp_path / "tags.csv"

    def run(**options: Any) -> Any:
        source = open_source(photos, store.labels)
        return score(store, "run-1", source, out, encoder=encoder, **options)

    with pytest.raises(ScoringError, match="stopped at 2 rejected images, at most 1 are allowed"):
        run(max_rejects=1, batch_size=3)
    summary = run(max_rejects=2)
    assert summary.rejected == 2
    assert summary.resumed > 0
    assert summary.images == len(tags(out)) == len(PICTURES)
    rejects = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert {row["job"] for row in rejects} == {"score"}
    assert sorted(row["reason"] for row in rejects)[0] == "empty"


def test_what_succeeds_later_is_no_reject_any_more(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    mended, broken = photos / "0000 mended.png", photos / "0001 broken.png"
    whole = sorted(photos.iterdir())[0].read_bytes()
    for path in (mended, broken):
        path.write_bytes(b"")
    store.reject("ingest-images", [Reject(str(mended), "empty", "of another job")])

    def rejected() -> list[tuple[str, str]]:
        rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
        return sorted((row["job"], Path(row["uri"]).name) for row in rows)

    def run() -> None:
        source = open_source(photos, store.labels)
        score(store, "run-1", source, tmp_path / "tags.csv", encoder=encoder, overwrite=True)

    run()
    other = ("ingest-images", mended.name)
    assert rejected() == [other, ("score", mended.name), ("score", broken.name)]
    mended.write_bytes(whole)
    run()
    assert set(rejected()) == {other, ("score", broken.name)}


def test_two_jobs_at_the_same_file_do_not_mix(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    out, refusals = tmp_path / "tags.csv", []

    class Second(_Killer):
        def advance(self, amount: int = 1, **figures: float) -> None:
            with pytest.raises(ScoringError, match="another job is writing it") as caught:
                score(store, "run-1", None, out)
            refusals.append(str(caught.value))

    def second(description: str, *, total: int | None, unit: str) -> ProgressBar:
        return Second(0)

    summary = score(store, "run-1", None, out, progress=second)
    assert len(refusals) == 1
    assert "\n" not in refusals[0]
    assert summary.images == len(tags(out)) == len(PICTURES)


def test_the_same_content_under_two_paths_is_tagged_under_both(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    first = sorted(photos.iterdir())[0]
    (photos / "copy.png").write_bytes(first.read_bytes())
    manifest = tmp_path / "m.jsonl"
    line = '{"image": "photos/copy.png", "labels": []}\n'
    manifest.write_text(line + line + f'{{"image": "photos/{first.name}", "labels": []}}\n')
    out = tmp_path / "tags.csv"
    source = open_source(manifest, store.labels)
    score(store, "run-1", source, out, encoder=encoder, top_k=1)
    assert [Path(row["uri"]).name for row in read_tags(out)] == ["copy.png", first.name]


class _Killer:
    """A progress bar that ends its process the hard way once enough images are done."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: int = 1, **figures: float) -> None:
        self._left -= amount
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(store_path: str, photos: str, out: str, after: int) -> None:
    """Score until killed; runs in a process of its own. An empty ``photos`` means the store."""
    parts_module.PART_IMAGES = 4
    encoder = ColourEncoder()
    store = Store.open(store_path)

    def killer(description: str, *, total: int | None, unit: str) -> ProgressBar:
        return _Killer(after)

    source = open_source(photos, store.labels) if photos else None
    score(
        store,
        "run-1",
        source,
        out,
        encoder=encoder,
        batch_size=2,
        regions=0,
        progress=killer,
    )


@pytest.mark.parametrize("from_store", [False, True])
def test_killed_and_run_again_gives_the_same_rows(
    store: Store,
    encoder: ColourEncoder,
    photos: Path,
    tmp_path: Path,
    from_store: bool,
) -> None:
    if from_store:
        add_pictures(store, encoder)
    options: dict[str, Any] = {
        "batch_size": 2,
        "regions": 0,
        "progress": no_progress,
    }
    if not from_store:
        options["encoder"] = encoder
    whole, out = tmp_path / "whole.csv", tmp_path / "tags.csv"

    def source() -> Any:
        return None if from_store else open_source(photos, store.labels)

    score(store, "run-1", source(), whole, **options)
    arguments = (str(tmp_path / "store"), "" if from_store else str(photos), str(out), 7)
    code = f"import tests.scoring.test_score as t; t.run_and_die(*{arguments!r})"
    # The store's images come in one batch: the parts are then written, but not merged.
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not out.exists()
    encoder.encoded = 0
    summary = score(store, "run-1", source(), out, **options)
    assert summary.resumed in ((len(PICTURES),) if from_store else (4, 8))
    assert encoder.encoded == (0 if from_store else len(PICTURES) - summary.resumed)
    assert list(read_tags(out)) == list(read_tags(whole))
    assert not (tmp_path / "tags.csv.parts").exists()


def test_store_images_without_a_vector_are_set_aside(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    store.append("images", [image_row(77, ["red"])])
    out = tmp_path / "tags.csv"
    summary = score(store, "run-1", None, out)
    assert (summary.images, summary.rejected) == (12, 1)
    (reject,) = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert (reject["uri"], reject["reason"]) == ("/photos/0077 red.png", "no_vector")


def test_every_refusal_is_one_line_with_a_remedy(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    def refusal(source: Any = None, out: str = "t.csv", **options: Any) -> str:
        with pytest.raises(ScoringError) as caught:
            score(store, "run-1", source, tmp_path / out, **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / f"{out}.parts").exists()
        return str(caught.value)

    folder = open_source(photos, store.labels)
    other = ColourEncoder(name="other")
    assert "no images here: give a folder" in refusal()
    assert "unknown format '.txt'" in refusal(out="t.txt")
    assert "photos need the encoder of run run-1: give colour@32" in refusal(folder)
    assert "trained for the encoder colour_32_32, not for other_32_32" in refusal(
        folder, encoder=other
    )
    assert "threshold is 2" in refusal(threshold=2)
    assert "top_k is 0" in refusal(top_k=0)
    assert "step 'regions' cannot be scored here" in refusal(step="regions")
    for path in photos.iterdir():
        path.write_bytes(b"")
    assert "none of 12 images could be scored (first: " in refusal(folder, encoder=encoder)


def test_memory_of_a_batch_does_not_depend_on_how_many_images_there_are(
    store: Store, encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PART_IMAGES", 3)
    monkeypatch.setattr("taistore.scoring.stored_images.BATCH_ROWS", 2)
    for first in (0, 100):
        rows = [image_row(first + n, colours) for n, colours in enumerate(PICTURES)]
        add_images(store, encoder, rows, PICTURES)
    out = tmp_path / "tags.parquet"
    summary = score(store, "run-1", None, out, top_k=1, known="ignore")
    assert summary.images == summary.tags == 2 * len(PICTURES)
