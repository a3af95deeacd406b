"""Photos found by a text, by another photo and by labels, over a store of colour pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import taistore
from taistore.errors import ImageError, LabelError, ScoringError, StoreError, TaistoreError
from taistore.finding.asked import Asked
from taistore.finding.found import Found
from taistore.labels import Label, LabelSet
from taistore.project import Project
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import NAMES, PICTURES, add_images, add_pictures, add_run, image_row
from tests.scoring.colours import labels as colour_labels


class Loads:
    """The encoder of these tests, counting how often it is loaded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> ColourEncoder:
        self.count += 1
        return ColourEncoder()


@pytest.fixture
def loads() -> Loads:
    loads = Loads()
    taistore.register_encoder("colours", loads)
    return loads


@pytest.fixture
def project(tmp_path: Path, loads: Loads) -> Project:
    """Pictures of one to three colours in two splits, with regions, and a run."""
    made = taistore.create(tmp_path / "store", labels=colour_labels(), encoder="colours")
    encoder = ColourEncoder()
    add_pictures(made.store, encoder, grid=2)
    nothing = {"positives": [], "complete": False, "split": "train"}
    add_pictures(made.store, encoder, grid=2, first=100, **nothing)
    add_run(made.store, encoder)
    loads.count = 0
    return taistore.open(tmp_path / "store")


def plain_order(project: Project, query: str) -> list[str]:
    """The rival: NumPy over all vectors, by the photos' ids."""
    (vector,) = ColourEncoder().encode_texts([query])
    ids = project.images()["image_id"].to_list()
    vectors = project.image_vectors(ids).astype(np.float32)
    cosines = vectors @ vector / np.linalg.norm(vectors, axis=1)
    return [ids[n] for n in np.argsort(-cosines, kind="stable")]


def colours_of(found: Found) -> list[str]:
    return [Path(photo.uri).stem.partition(" ")[2] for photo in found]


def ids_of(found: Found) -> list[str]:
    return [photo.image_id for photo in found]


@pytest.mark.parametrize("query", ["a photo of red", "blue and yellow", "something grey"])
def test_a_text_ranks_by_cosine(project: Project, query: str) -> None:
    found = project.find(query, top_k=50)
    # Both splits hold the same pictures: of equal ones either may be first.
    where = {one: n for n, one in enumerate(plain_order(project, query))}
    assert len(found) == 2 * len(PICTURES)
    assert sorted(ids_of(found)) == sorted(where)
    scores = [photo.score for photo in found]
    assert scores == sorted(scores, reverse=True)
    assert all(abs(where[one] - n) <= 1 for n, one in enumerate(ids_of(found)))
    assert (found.ranked_by, found.indexed, found.searched) == ("cosine", False, len(where))


def test_best_tags_come_with_a_photo(project: Project) -> None:
    found = project.find("a photo of red", top_k=2)
    assert all(photo.tags and photo.tags[0].key == "RED" for photo in found)
    assert found.run_id == "run-1"
    assert project.find("a photo of red", top_k=2, tags=False)[0].tags is None


def test_a_photo_of_the_store_needs_no_encoder(
    project: Project, loads: Loads, tmp_path: Path
) -> None:
    known = project.images().filter(pl.col("uri").str.contains("red-green"))
    uri, identity = known["uri"][0], known["image_id"][0]
    for like in (uri, identity, Path(uri)):
        found = project.find(like=like, tags=False, top_k=3)
        assert identity not in ids_of(found)
        # The same picture of the other split lies nearest.
        assert colours_of(found)[0] == "red-green"
        assert found[0].score == pytest.approx(1, abs=1e-6)
    assert loads.count == 0


def test_a_photo_from_elsewhere_is_encoded(project: Project, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "new.png"
    colour_image("blue", "yellow", size=(90, 30)).save(path)
    assert colours_of(project.find(like=path, top_k=2)) == ["blue-yellow"] * 2
    assert loads.count == 1


def test_text_and_photo_are_weighed_alike(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "new.png"
    colour_image("red").save(path)
    assert colours_of(project.find("a photo of green", like=path, top_k=2)) == ["red-green"] * 2


def test_labels_rank_by_the_least_certain(project: Project) -> None:
    found = project.find(labels=["red", "GREEN"], split="train", top_k=3)
    assert colours_of(found)[0] == "red-green"
    assert found.ranked_by == "labels"
    frame = project.run().tags(split="train", top_k=len(NAMES), threshold=0.0)
    scores = {
        (row["image_id"], row["label_key"]): row["score"] for row in frame.iter_rows(named=True)
    }
    for photo in found:
        least = min(scores[photo.image_id, key] for key in ("RED", "GREEN"))
        assert photo.score == pytest.approx(least, abs=1e-6)


def test_what_is_known_counts_before_scores(project: Project) -> None:
    found = project.find(labels=["red"], top_k=3)
    # Three pictures are known to show red; the same ones of the other split are only scored.
    assert {photo.split for photo in found} == {"test"}
    assert [photo.score for photo in found] == [1.0] * 3
    assert colours_of(found)[0] == "red"
    known_absent = project.find(labels=["red"], split="test", top_k=50)
    assert [photo.score for photo in known_absent][3:] == [0.0] * (len(PICTURES) - 3)


def test_not_leaves_out_and_min_cuts(project: Project) -> None:
    everything = project.find(labels=["red"], split="test", least=0.5, top_k=50)
    without = project.find(labels=["red"], without=["blue", "green"], split="test", least=0.5)
    assert sorted(colours_of(everything)) == ["red", "red-blue-white", "red-green"]
    assert colours_of(without) == ["red"]
    only = project.find(without=["red"], split="test", top_k=50)
    assert len(only) == len(PICTURES) - 3
    assert not any("red" in one for one in colours_of(only))


def test_text_and_labels_hold_together(project: Project) -> None:
    found = project.find("a photo of blue", labels=["red"], split="test", top_k=50)
    assert colours_of(found) == ["red-blue-white", "red-green", "red"]
    assert found.ranked_by == "cosine"
    scored = project.find("a photo of blue", labels=["white"], split="train", top_k=50, least=0.3)
    by_label = project.find(labels=["white"], split="train", top_k=50, least=0.3)
    assert sorted(ids_of(scored)) == sorted(ids_of(by_label))
    order = plain_order(project, "a photo of blue")
    assert ids_of(scored) == [one for one in order if one in set(ids_of(by_label))]


def test_a_split_leaves_no_list_short(project: Project) -> None:
    encoder = ColourEncoder()
    rows = [image_row(1000 + n, ("red",), split="val") for n in range(3)]
    add_images(project.store, encoder, rows, [("white",)] * 3)
    found = project.find("a photo of red", split="val", top_k=2)
    assert [photo.split for photo in found] == ["val", "val"]


def test_a_lowest_cosine_cuts(project: Project) -> None:
    every = project.find("a photo of red", top_k=50)
    least = (every[4].score + every[5].score) / 2
    assert (
        ids_of(project.find("a photo of red", top_k=50, least=least))
        == ids_of(every)[: sum(photo.score >= least for photo in every)]
    )
    assert len(project.find("a photo of red", least=1.0)) == 0


def test_a_vector_without_its_photo_is_passed_over(project: Project) -> None:
    (best,) = project.find("a photo of red", top_k=1)
    project.store.remove("images", {"image_id": best.image_id})
    found = project.find("a photo of red", top_k=50)
    assert best.image_id not in ids_of(found)
    assert len(found) == 2 * len(PICTURES) - 1


def test_photos_that_are_gone_are_marked(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "here.png"
    colour_image("red").save(path)
    encoder = ColourEncoder()
    add_images(project.store, encoder, [image_row(500, ("red",), uri=str(path))], [("red",)])
    found = project.find("a photo of red", top_k=50)
    assert [photo.uri for photo in found if not photo.gone] == [str(path)]
    assert found.gone == len(found) - 1


def test_one_label_of_a_shared_name_is_asked_for_by_key(tmp_path: Path, loads: Loads) -> None:
    labels = LabelSet([Label("a", "organ"), Label("b", "organ")])
    project = taistore.create(tmp_path / "store", labels=labels, encoder="colours")
    with pytest.raises(LabelError, match="ambiguous: use one of the keys a, b"):
        project.find(labels=["organ"])


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({}, ScoringError, "nothing to find"),
        ({"text": "  "}, ScoringError, "the text to find is empty"),
        ({"text": "red", "top_k": 0}, ScoringError, "top_k is 0"),
        ({"labels": ("red",), "least": -0.5}, ScoringError, "min is -0.5"),
        ({"labels": ["rad"]}, LabelError, "'rad' is not in the label set: did you mean 'red'?"),
        ({"without": ["zebra"]}, LabelError, "search for it as a text: taistore find 'zebra'"),
        (
            {"text": "red", "split": "tset"},
            StoreError,
            "no photo is of the split 'tset': there are",
        ),
        ({"like": "nowhere.png"}, ImageError, "knows no photo of this path or id"),
        ({"like": "0" * 32}, ImageError, "knows no photo of this path or id"),
        ({"labels": ["red"], "run": "nobody"}, StoreError, "no run 'nobody'"),
        ({"text": "red", "out": "found.xyz"}, ScoringError, "unknown format"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_found_is_told_before_an_encoder_is_loaded(
    project: Project,
    loads: Loads,
    asked: dict[str, object],
    error: type[TaistoreError],
    said: str,
) -> None:
    with pytest.raises(error) as told:
        project.find(**asked)  # type: ignore[arg-type]
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert loads.count == 0


def test_an_empty_store_names_the_command(tmp_path: Path, loads: Loads) -> None:
    project = taistore.create(tmp_path / "store", labels=["red"], encoder="colours")
    with pytest.raises(StoreError, match=r"holds no photos yet: .*ingest-images photos/'"):
        project.find("red")
    project.store.append("images", [image_row(0, ("red",), positives=[])])
    with pytest.raises(StoreError, match=r"holds no image vectors of colours: .*ingest-images"):
        project.find("red")
    with pytest.raises(StoreError, match="'taistore train' makes one"):
        project.find(labels=["red"])


def test_text_from_users_is_no_query(project: Project) -> None:
    hostile = "red' OR '1'='1"
    for asked in ({"split": hostile}, {"like": hostile}, {"labels": [hostile]}):
        with pytest.raises(TaistoreError):
            project.find(**asked)
    assert len(project.find(hostile, top_k=3)) == 3


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_files_hold_what_was_found(project: Project, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"found{suffix}"
    uri = "=cmd|'/c calc'!A1.png"
    encoder = ColourEncoder()
    add_images(project.store, encoder, [image_row(7000, ("red",), uri=uri)], [("red",)])
    found = project.find("a photo of red", top_k=5, out=out)
    if suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert f"'{uri}" in [row["uri"] for row in rows]
        assert rows[0]["gone"] == "true"
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pl.read_parquet(out).to_dicts()
    assert [row["image_id"] for row in rows] == ids_of(found)
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["tags"].split("|")[0] == "RED"
    with pytest.raises(ScoringError, match="is there already"):
        project.find("a photo of blue", out=out)
    project.find("a photo of blue", out=out, overwrite=True)
    assert not list(tmp_path.glob("*.part"))


def test_a_page_shows_them_in_their_order(project: Project, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    found = project.find('<script>alert("red")</script>', top_k=4, html=page)
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    places = [html.index(Path(photo.uri).name) for photo in found[:3]]
    assert places == sorted(places)
    (tmp_path / "mine.html").write_text("<title>mine</title>", encoding="utf-8")
    with pytest.raises(ScoringError, match="is no page of tags, so that it is not replaced"):
        project.find("red", html=tmp_path / "mine.html")


def test_a_page_without_a_run_shows_scores(tmp_path: Path, loads: Loads) -> None:
    project = taistore.create(tmp_path / "store", labels=colour_labels(), encoder="colours")
    add_pictures(project.store, ColourEncoder())
    found = project.find("a photo of red", top_k=3, html=tmp_path / "found.html")
    assert found.run_id is None
    html = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert all(Path(photo.uri).name in html for photo in found)


def test_words_for_a_question() -> None:
    asked = Asked(text="a dog", like="x/b.jpg", labels=("cat",), without=("bus",))
    assert str(asked) == "“a dog”, like b.jpg, with cat, without bus"
