"""Synthetic images stay apart: what there is of photos is the same with and without them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import taistore
from taistore.errors import StoreError
from taistore.project import Project
from taistore.run import Run
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image

PHOTOS = 210
"""Enough photos for zsl to go by those that are not labelled."""

NAMES = list(COLOURS)[:6]

ENCODER = ColourEncoder()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of two colours each, and a manifest that splits them."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for n in range(PHOTOS):
        shown = [NAMES[n % 6], NAMES[(n * 5 + 1 + n // 6) % 6]]
        colour_image(*shown, size=(20 + n % 7, 16 + n // 7)).save(folder / f"{n}.png")
        split = ("train", "test", "synthetic")[n % 3]
        rows.append({"image": f"{n}.png", "labels": sorted(set(shown)), "split": split})
    manifest = folder / "photos.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Project:
    taistore.register_encoder("colours", lambda: ENCODER)
    made = taistore.create(
        tmp_path_factory.mktemp("kept-apart") / "store", labels=NAMES, encoder="colours"
    )
    made.generate_texts(80)
    made.ingest_images(source / "photos.jsonl", regions=2)
    return made


def draw(project: Project, folder: Path, *, texts: int = 40, regions: int = 2) -> Path:
    """Make synthetic images, two of each text: striped pictures of its labels."""
    folder.mkdir(exist_ok=True)
    colours = dict(zip(project.labels.keys, NAMES, strict=True))
    combinations = {
        row["combination_id"]: [project.labels.keys[n] for n in row["label_ids"]]
        for batch in project.store.scan("combinations")
        for row in batch.to_pylist()
    }
    lines: list[str] = []
    for row in project.texts().head(texts).to_dicts():
        for copy in range(2):
            path = folder / f"{row['text_id']}-{copy}.png"
            shown = [colours[key] for key in combinations[row["combination_id"]]]
            # A black edge: a picture of one colour is taken for a failure.
            colour_image(*shown, "black", size=(31 + len(lines), 17 + copy)).save(path)
            lines.append(json.dumps({"text": row["text"], "image": path.name}))
    manifest = folder / "made.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    project.generate_images(writer="folder", images=manifest, regions=regions)
    return folder


def weights(run: Run) -> bytes:
    return (run.folder / "adapter.safetensors").read_bytes()


def observed(project: Project, run: Run, source: Path, out: Path) -> dict[str, Any]:
    """Everything that the store offers for photos, by name."""
    out.mkdir()
    quick: dict[str, Any] = {"epochs": 1}
    run.score(out=out / "stored.parquet", html=out / "stored.html")
    run.score(source, out=out / "folder.csv", regions=2)
    run.export_scores(out / "scores.npy")
    few = project.train("fsl", shots=2, **quick)
    partly = project.train("pll", known=0.5, mask_seed=3, **quick)
    alone = project.train("zsl", **quick)
    both = project.ensemble([few, partly], split="test")
    return {
        **{
            f"{name} bytes": (out / name).read_bytes()
            for name in ("stored.parquet", "stored.html", "folder.csv", "scores.npy")
        },
        "tags": run.tags().rows(),
        "test": run.evaluate(bootstrap=100).to_json(),
        "a user's split": run.evaluate(split="synthetic").to_json(),
        "regions": run.evaluate().images_with_regions,
        "compared": few.compare(run, samples=100).frame().rows(),
        "shots": weights(few),
        "masks": weights(partly),
        "unlabelled": weights(alone),
        "known": [
            pl.read_parquet(one.folder / "known-labels.parquet").rows() for one in (few, partly)
        ],
        "members": [(one.weight, one.whole, one.regions) for one in both.members],
        "images": project.images().rows(),
        "vectors": project.image_vectors().tobytes(),
        "neighbours": project.centroids(split="train", known=0.5).to_json(),
        "prune": asdict(project.prune()),
        "prune a folder": asdict(project.prune(source)),
    }


def test_all_that_is_offered_for_photos_is_the_same_after_synthetic_images_came(
    project: Project, source: Path, tmp_path: Path
) -> None:
    run = project.train("zsl", shift="none", epochs=1)
    before = observed(project, run, source, tmp_path / "before")
    assert before["test"]["images"] == PHOTOS // 3
    draw(project, tmp_path / "made")
    assert len(project.synthetic()) == 80
    after = observed(project, run, source, tmp_path / "after")
    wrong = [name for name, value in before.items() if after[name] != value]
    assert wrong == []


@pytest.fixture
def small(tmp_path: Path, source: Path) -> Project:
    """A store of its own, with photos of the splits test and synthetic."""
    taistore.register_encoder("colours", lambda: ENCODER)
    made = taistore.create(tmp_path / "small", labels=NAMES, encoder="colours")
    made.generate_texts(60)
    rows = (source / "photos.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    chosen = [json.loads(row) for row in rows]
    for row in chosen:
        row["image"] = str(source / row["image"])
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, chosen)), encoding="utf-8")
    made.ingest_images(tmp_path / "few.jsonl", regions=2)
    return made


def test_a_photo_with_the_bytes_of_a_synthetic_image_is_a_photo(
    small: Project, tmp_path: Path
) -> None:
    made = draw(small, tmp_path / "made", texts=3)
    photos = tmp_path / "taken"
    photos.mkdir()
    content = {
        row["content"]
        for batch in small.store.scan(
            "synthetic_vectors", encoder_id=small.encoder_info().encoder_id
        )
        for row in batch.to_pylist()
    }
    for path in made.glob("*.png"):
        shutil.copy(path, photos)
    run = small.train("zsl", shift="none", epochs=1)
    encoded = ENCODER.encoded
    run.score(photos, out=tmp_path / "tags.parquet", regions=2)
    assert ENCODER.encoded == encoded + 6, "no synthetic vector stands in for a photo's"
    held = small.contents().tables["images"]
    assert small.ingest_images(photos, split="test").added == 6
    ids = set(small.images()["image_id"])
    assert content <= ids, "they are named by the same bytes"
    assert not ids & set(small.synthetic()["synthetic_id"])
    assert small.contents().tables["images"] == held + 6
    assert len(small.synthetic()) == 6
    shutil.rmtree(photos)
    assert small.prune(apply=True, lost_folders=True).gone == 6
    assert (small.contents().tables["images"], len(small.synthetic())) == (held, 6)
    shutil.rmtree(made)
    assert small.prune(apply=True).gone == 0
    assert len(small.synthetic()) == 6


def test_the_frame_names_the_text_and_its_labels(small: Project, tmp_path: Path) -> None:
    empty = small.synthetic()
    assert empty.is_empty()
    draw(small, tmp_path / "made", texts=5)
    frame = small.synthetic()
    assert frame.columns == [
        "synthetic_id", "text_id", "number", "text", "labels", "writer", "model", "seed"
    ]  # fmt: skip
    assert frame.schema == empty.schema
    texts = {row["text_id"]: row for row in small.texts().to_dicts()}
    of = {
        row["combination_id"]: row["label_ids"]
        for batch in small.store.scan("combinations")
        for row in batch.to_pylist()
    }
    for row in frame.to_dicts():
        text = texts[row["text_id"]]
        assert row["text"] == text["text"]
        assert row["synthetic_id"] == f"{row['text_id']}-{row['number']}"
        assert row["labels"] == [small.labels.keys[n] for n in of[text["combination_id"]]]
        assert (row["writer"], row["model"], row["seed"]) == ("folder", None, None)
    with pytest.raises(StoreError, match="lacks"):
        small.image_vectors([frame["synthetic_id"][0]])


def command(project: Project, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        main, [*arguments, "--store", project.uri, "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def refusal(project: Project, *arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--store", project.uri], catch_exceptions=False)
    assert done.exit_code != 0
    return done.stderr.strip()


def test_a_split_named_synthetic_is_of_photos(small: Project, tmp_path: Path) -> None:
    run = small.train("zsl", shift="none", epochs=1)
    line = refusal(small, "evaluate", run.run_id, "--synthetic").splitlines()[-1]
    assert "holds no synthetic images" in line
    assert "generate-images" in line
    draw(small, tmp_path / "made", texts=7)
    photos = command(small, "evaluate", run.run_id, "--split", "synthetic")
    made = command(small, "evaluate", run.run_id, "--synthetic")
    assert (photos["kind"], photos["split"], photos["images"]) == ("photos", "synthetic", 20)
    assert (made["kind"], made["split"], made["images"]) == ("synthetic", None, 14)
    assert made["images_with_regions"] == 14
    kept = small.run(run.run_id).metrics
    assert list(kept["evaluation"]) == ["synthetic"]
    assert kept["evaluation"]["synthetic"]["ladder"] == photos["ladder"]
    assert kept["synthetic_evaluation"]["ladder"] == made["ladder"]
    told = run.evaluate(synthetic=True).table().splitlines()[0]
    assert told.startswith("14 synthetic images (made of the store's texts: no photo")
    for option in (["--split", "synthetic"], ["--protocol", "voc2007"]):
        line = refusal(small, "evaluate", run.run_id, "--synthetic", *option).splitlines()[-1]
        assert f"leave out {option[0]}, or --synthetic" in line


def test_show_counts_them_apart(small: Project, tmp_path: Path) -> None:
    draw(small, tmp_path / "made", texts=4)
    found = command(small, "show")
    assert found["tables"]["images"] == 60
    (encoder,) = found["encoders"]
    assert (encoder["image_vectors"], encoder["region_vectors"]) == (60, 60)
    assert (encoder["synthetic_vectors"], encoder["synthetic_regions"]) == (8, 8)
    text = CliRunner().invoke(main, ["show", "--store", small.uri]).stdout
    assert "60 image, 60 region vectors; 8 synthetic images, 8 with regions" in text


def test_runs_compare_and_draw_on_synthetic_images(small: Project, tmp_path: Path) -> None:
    draw(small, tmp_path / "made", texts=7)
    first = small.train("zsl", shift="none", epochs=1)
    second = small.train("zsl", shift="none", epochs=1, radius=0.5)
    found = command(small, "compare", first.run_id, second.run_id, "--synthetic")
    assert (found["kind"], found["split"], found["images"]) == ("synthetic", None, 14)
    assert found["images_left_out"] == 0
    ladder = {r.run_id: r.evaluate(synthetic=True).to_json()["ladder"] for r in (first, second)}
    assert found["steps"]["adapter"]["first"] == ladder[first.run_id]["adapter"]["mAP"]
    assert found["steps"]["adapter"]["second"] == ladder[second.run_id]["adapter"]["mAP"]
    first.evaluate()
    drawn = second.evaluate(synthetic=True, plots=tmp_path / "plots").pictures
    names = {path.name for path in drawn}
    assert {"ladder.svg", "labels.svg", "radius.svg"} <= names, "both runs are points of the curve"


def test_figures_of_what_a_run_learnt_from_say_so(small: Project, tmp_path: Path) -> None:
    draw(small, tmp_path / "made", texts=20)
    learnt = small.train("zsl", shift="none", learn_from="texts+synthetic", epochs=1)
    texts = small.train("zsl", shift="none", epochs=1)
    assert any("it was trained on" in w for w in learnt.evaluate(synthetic=True).warnings)
    assert not any("trained on" in w for w in texts.evaluate(synthetic=True).warnings)
    both = small.run(small.ensemble([texts, learnt]).run_id)
    assert any("it was trained on" in w for w in both.evaluate(synthetic=True).warnings)
    assert not any("trained on" in w for w in both.evaluate().warnings)


def test_an_ensemble_with_imported_scores_has_none_of_synthetic_images(
    small: Project, tmp_path: Path
) -> None:
    draw(small, tmp_path / "made", texts=4)
    run = small.train("zsl", shift="none", epochs=1)
    run.export_scores(tmp_path / "own.parquet", split="test")
    made = small.ensemble([run], scores=tmp_path / "own.parquet", split="test", rule="paper")
    line = refusal(small, "evaluate", made.run_id, "--synthetic").splitlines()[-1]
    assert "synthetic images have none, evaluate a member" in line


def test_verify_finds_nothing_wrong_with_both_kinds(small: Project, tmp_path: Path) -> None:
    draw(small, tmp_path / "made", texts=4)
    assert not taistore.open(small.uri).verify(small.uri).findings


OPTIONS: list[list[str]] = [["--known", "0.5"], ["--k", "9"], ["--plots", "x"]]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option[0])
def test_centroids_of_synthetic_images_take_no_option_of_photos(
    small: Project, option: list[str]
) -> None:
    line, hint = refusal(small, "centroids", "--synthetic", *option).splitlines()[-2:]
    assert f"{option[0]} is about photos" in line
    assert hint == "try 'taistore centroids --help'"


def test_centroids_of_both_kinds(small: Project, tmp_path: Path) -> None:
    assert "generate-images" in refusal(small, "centroids", "--synthetic")
    draw(small, tmp_path / "made", texts=20)
    photos = command(small, "centroids", "--split", "test")
    made = command(small, "centroids", "--synthetic", "--split", "test")
    assert (photos["images"], made["photos"], made["images"]) == (20, 20, 40)
    assert [row["photos"] for row in made["labels"]] == [r["images"] for r in photos["labels"]]
    assert [row["key"] for row in made["labels"]] == small.labels.keys
    text = CliRunner().invoke(
        main, ["centroids", "--synthetic", "--split", "test", "--store", small.uri]
    )
    assert "40 synthetic images, held against 20 photos of split 'test'" in text.stdout
