"""Tags follow the store: what is known, every path of a content, regions where there are, kept
vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.errors import StoreError
from taistore.evaluation.evaluate import evaluate
from taistore.images.decoding import image_id
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.scoring.loaded_run import open_run
from taistore.scoring.score import ScoreSummary, score
from taistore.scoring.tagging import tag_store
from taistore.scoring.tags import tag_parts
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import (
    NAMES,
    PICTURES,
    add_images,
    add_pictures,
    add_run,
    image_row,
    new_store,
)
from tests.scoring.tag_frames import read_tag_frame

RED, GREEN, BLUE = 0, 1, 2

Found = dict[str, list[tuple[str, float]]]


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    store = new_store(tmp_path / "store", encoder)
    add_run(store, encoder)
    return store


def tags(path: Path) -> Found:
    """(label name, score) of each path, by rank."""
    found: Found = {}
    for row in read_tags(path):
        entry = found.setdefault(row["uri"], [])
        entry.append((row["label_name"], row["score"]))
        assert row["rank"] == len(entry)
    return found


def names(entry: list[tuple[str, float]]) -> list[str]:
    return [name for name, _ in entry]


def of_folder(
    store: Store, photos: Path, out: Path, **options: Any
) -> tuple[Found, ScoreSummary, ColourEncoder]:
    encoder = ColourEncoder()
    options = {"regions": 2, "overwrite": True, **options}
    source = open_source(photos, store.labels)
    summary = score(store, "run-1", source, out, encoder=encoder, **options)
    return tags(out), summary, encoder


# --- what is known -----------------------------------------------------------------------------


def test_what_is_known_overrides_what_is_scored(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    # A red picture of which somebody says that it is green and blue, and not red.
    wrong = image_row(1, ["red"], positives=[GREEN, BLUE], negatives=[RED], complete=False)
    complete = image_row(2, ["red"], positives=[BLUE])
    unknown = image_row(3, ["red"], positives=[], complete=False)
    add_images(store, encoder, [wrong, complete, unknown], [["red"]] * 3)
    out = tmp_path / "tags.parquet"
    score(store, "run-1", None, out, top_k=1)
    found = tags(out)
    # All that are known, also more than top_k.
    assert found[wrong["uri"]] == [("green", 1.0), ("blue", 1.0)]
    assert found[complete["uri"]] == [("blue", 1.0)]
    assert names(found[unknown["uri"]]) == ["red"]
    assert found[unknown["uri"]][0][1] < 1
    frame = tag_store(open_run(store, "run-1"), top_k=1)
    assert frame.equals(read_tag_frame(out))
    # What is not known fills up to top_k, from the best score on.
    score(store, "run-1", None, out, top_k=3, overwrite=True)
    found = tags(out)
    assert names(found[wrong["uri"]])[:2] == ["green", "blue"]
    assert len(found[wrong["uri"]]) == 3
    assert "red" not in names(found[wrong["uri"]])
    assert found[wrong["uri"]][2][1] < 1
    assert names(found[complete["uri"]]) == ["blue"]
    # No threshold keeps a known label out.
    score(store, "run-1", None, out, threshold=1.0, overwrite=True)
    assert names(tags(out)[wrong["uri"]]) == ["green", "blue"]
    assert unknown["uri"] not in tags(out)


def test_ignoring_what_is_known_goes_by_the_scores(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_images(store, encoder, [image_row(1, ["red"], positives=[BLUE])], [["red"]])
    out = tmp_path / "tags.parquet"
    score(store, "run-1", None, out, top_k=2, known="ignore")
    (entry,) = tags(out).values()
    assert names(entry)[0] == "red"
    assert max(value for _, value in entry) < 1
    run = open_run(store, "run-1")
    assert tag_store(run, top_k=2, known="ignore").equals(read_tag_frame(out))


def test_photos_are_known_by_their_content(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    first = photos / "0000 red.png"
    add_images(
        store,
        encoder,
        [image_row(1, ["red"], image_id=image_id(first.read_bytes()), positives=[GREEN])],
        [["red"]],
    )
    found, _, _ = of_folder(store, photos, tmp_path / "tags.csv", top_k=1)
    assert found[str(first)] == [("green", 1.0)]
    assert names(found[str(photos / "0001 green.png")]) == ["green"]
    assert found[str(photos / "0001 green.png")][0][1] < 1
    found, _, _ = of_folder(store, photos, tmp_path / "tags.csv", top_k=1, known="ignore")
    assert names(found[str(first)]) == ["red"]


def test_a_stopped_job_goes_on_only_with_the_same_use_of_what_is_known(
    store: Store, encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pictures(store, encoder)
    out = tmp_path / "tags.csv"
    monkeypatch.setattr(tag_parts, "PART_IMAGES", 1)

    def no_end(file: tag_parts.TagFile, **options: Any) -> tuple[int, int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tag_parts.TagFile, "finish", no_end)
        with pytest.raises(KeyboardInterrupt):
            score(store, "run-1", None, out)
    with pytest.raises(Exception, match="unfinished job with known 'override', not 'ignore'"):
        score(store, "run-1", None, out, known="ignore")
    assert score(store, "run-1", None, out).resumed == len(PICTURES)


def test_an_evaluation_goes_by_the_scores_alone(store: Store, encoder: ColourEncoder) -> None:
    # All labels are wrong: what is known would make the ladder perfect.
    rows = [image_row(n, [name], positives=[(n + 1) % 6]) for n, name in enumerate(NAMES)]
    add_images(store, encoder, rows, [[name] for name in NAMES])
    found = evaluate(store, "run-1")
    assert all(step.mean_average_precision < 0.5 for step in found.ladder.values())


# --- copies ------------------------------------------------------------------------------------


def test_every_path_of_a_content_gets_its_tags(
    store: Store, encoder: ColourEncoder, photos: Path, tmp_path: Path
) -> None:
    copy = photos / "sub" / "copy.png"
    copy.parent.mkdir()
    copy.write_bytes((photos / "0006 red-green.png").read_bytes())
    ingest_images(store, encoder, open_source(photos, store.labels), regions=0)
    out = tmp_path / "tags.parquet"
    summary = score(store, "run-1", None, out, top_k=2)
    found = tags(out)
    assert summary.images == len(found) == len(PICTURES) + 1
    assert found[str(copy)] == found[str(photos / "0006 red-green.png")]
    assert set(names(found[str(copy)])) == {"red", "green"}
    by_folder, _, _ = of_folder(store, photos, tmp_path / "folder.csv", top_k=2, regions=0)
    assert by_folder == found
    frame = tag_store(open_run(store, "run-1"), top_k=2)
    assert frame.equals(read_tag_frame(out))
    assert frame.wide().height == len(PICTURES) + 1


def test_copies_are_counted_where_a_job_goes_on(
    store: Store, encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pictures(store, encoder, other_uris=["/photos/copy"])
    out = tmp_path / "tags.csv"

    def no_end(file: tag_parts.TagFile, **options: Any) -> tuple[int, int]:
        file.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tag_parts.TagFile, "finish", no_end)
        with pytest.raises(KeyboardInterrupt):
            score(store, "run-1", None, out)
    summary = score(store, "run-1", None, out)
    assert (summary.images, summary.resumed) == (2 * len(PICTURES), 2 * len(PICTURES))


# --- regions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["regions", "adapter", "ensemble"])
def test_images_are_scored_with_the_regions_that_they_have(
    store: Store, encoder: ColourEncoder, tmp_path: Path, step: Any
) -> None:
    options: dict[str, Any] = {"known": "ignore", "threshold": 0.0, "overwrite": True}
    out = tmp_path / "tags.parquet"
    add_pictures(store, encoder, grid=2)
    score(store, "run-1", None, out, step=step, **options)
    with_regions = tags(out)
    plain = new_store(tmp_path / "plain", encoder)
    add_run(plain, encoder)
    rows = add_pictures(plain, encoder, first=100)
    score(plain, "run-1", None, out, step="zero_shot" if step == "regions" else step, **options)
    without = tags(out)
    add_images(store, encoder, rows, PICTURES)
    summary = score(store, "run-1", None, out, step=step, **options)
    assert (summary.regions_used, summary.with_regions) == (True, len(PICTURES))
    assert summary.images == 2 * len(PICTURES)
    found = tags(out)
    for path, entry in {**with_regions, **without}.items():
        assert names(found[path]) == names(entry)
        np.testing.assert_allclose([s for _, s in found[path]], [s for _, s in entry], atol=1e-6)
    frame = tag_store(open_run(store, "run-1"), step=step, threshold=0.0, known="ignore")
    assert frame.equals(read_tag_frame(out))


def test_the_regions_rung_says_how_many_images_had_some(
    store: Store, encoder: ColourEncoder
) -> None:
    add_pictures(store, encoder, grid=2)
    whole = evaluate(store, "run-1")
    assert (whole.images_with_regions, whole.regions_used) == (12, True)
    assert "images have some" not in whole.table()
    add_pictures(store, encoder, first=100)
    found = evaluate(store, "run-1")
    assert (found.images, found.images_with_regions) == (24, 12)
    (rung,) = [line for line in found.table().splitlines() if line.startswith("regions ")]
    assert "(12 of 24 images have some)" in rung
    assert found.to_json()["images_with_regions"] == 12
    assert any("only 12 of 24 images have region vectors" in text for text in found.warnings)


def test_an_ingest_without_regions_makes_those_that_the_store_has(
    store: Store, encoder: ColourEncoder, photos: Path
) -> None:
    first = open_source(photos / "0000 red.png", store.labels)
    assert ingest_images(store, encoder, first, regions=0).regions == 0
    assert ingest_images(store, encoder, first, regions=2).regions == 2
    summary = ingest_images(store, encoder, open_source(photos, store.labels))
    assert (summary.regions, summary.encoded) == (2, len(PICTURES) - 1)
    assert store.count("region_vectors", encoder.info.encoder_id) == len(PICTURES)
    colour_image("cyan").save(photos / "new.png")
    assert ingest_images(store, encoder, open_source(photos, store.labels), regions=0).encoded == 1
    assert store.count("region_vectors", encoder.info.encoder_id) == len(PICTURES)


# --- kept vectors ------------------------------------------------------------------------------


@pytest.mark.parametrize("regions", [0, 2])
def test_photos_of_the_store_are_not_encoded_again(
    store: Store, photos: Path, tmp_path: Path, regions: int
) -> None:
    out = tmp_path / "tags.parquet"
    fresh, _, encoder = of_folder(store, photos, out, regions=regions, threshold=0.0)
    assert encoder.encoded == len(PICTURES)
    some = photos.parent / "some"
    some.mkdir()
    for n, path in enumerate(sorted(photos.iterdir())):
        if n % 2:
            (some / path.name).write_bytes(path.read_bytes())
    ingest_images(store, ColourEncoder(), open_source(some, store.labels), regions=2)
    half, _, encoder = of_folder(store, photos, out, regions=regions, threshold=0.0)
    assert encoder.encoded == len(PICTURES) // 2
    assert half == fresh
    ingest_images(store, ColourEncoder(), open_source(photos, store.labels))
    # A size that is refused shows that nothing is decoded.
    whole, summary, encoder = of_folder(
        store, photos, out, regions=regions, threshold=0.0, max_pixels=1
    )
    assert (encoder.encoded, encoder.batches, summary.rejected) == (0, 0, 0)
    assert whole == fresh


def test_another_grid_is_encoded(store: Store, photos: Path, tmp_path: Path) -> None:
    ingest_images(store, ColourEncoder(), open_source(photos, store.labels), regions=2)
    _, summary, encoder = of_folder(store, photos, tmp_path / "tags.csv", regions=3)
    assert (encoder.encoded, summary.with_regions) == (len(PICTURES), len(PICTURES))


def test_bad_photos_beside_kept_ones(store: Store, photos: Path, tmp_path: Path) -> None:
    ingest_images(store, ColourEncoder(), open_source(photos, store.labels))
    (photos / "bad.png").write_text("not an image", encoding="utf-8")
    (photos / "0000 red.png").unlink()
    (photos / "0000 red.png").symlink_to(photos / "nowhere.png")
    _, summary, encoder = of_folder(store, photos, tmp_path / "tags.csv", regions=0)
    assert (summary.rejected, summary.images) == (2, len(PICTURES) - 1)
    assert encoder.encoded == 0


def test_vectors_that_go_while_they_are_needed_are_one_line(
    store: Store, photos: Path, tmp_path: Path
) -> None:
    encoder = ColourEncoder()
    ingest_images(store, encoder, open_source(photos, store.labels))
    colour_image("cyan").save(photos / "0000 first.png")

    class Slow(ColourEncoder):
        def encode_images(self, pixels: Any, *, regions: int = 0) -> Any:
            store.dataset("image_vectors", encoder.info.encoder_id).delete("true")
            return super().encode_images(pixels, regions=regions)

    source = open_source(photos, store.labels)
    with pytest.raises(StoreError, match="were removed by another job: run the same command again"):
        score(store, "run-1", source, tmp_path / "t.csv", encoder=Slow(), regions=0)
