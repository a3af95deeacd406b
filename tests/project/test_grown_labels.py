"""Labels that grow on a store with photos: what is done again, what stays, what runs still know."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import taistore
from taistore.adapter.run_files.file_names import WEIGHTS
from taistore.encoders.protocol import Float32
from taistore.errors import StoreError, TrainingError
from taistore.evaluation.report import Evaluation
from taistore.project import Project
from taistore.run import Run
from taistore.stopping import StopRequested
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image

NAMES = list(COLOURS)
FIRST, LATER = NAMES[:7], NAMES[7:10]


class CountingEncoder(ColourEncoder):
    """Counts texts as well as photos."""

    texts = 0

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """As that of the colours."""
        self.texts += len(texts)
        return super().encode_texts(texts)


@pytest.fixture
def encoder() -> CountingEncoder:
    one = CountingEncoder()
    taistore.register_encoder("colours", lambda: one)
    return one


def shown(number: int) -> tuple[str, str]:
    """The colours of a photo."""
    return NAMES[number % 12], NAMES[(number * 5 + 1 + number // 12) % 12]


def manifest(folder: Path, *, names: Sequence[str]) -> Path:
    """48 photos of two colours, of which these are said."""
    rows = []
    for number in range(48):
        path = folder / f"{number}.png"
        if not path.exists():
            size = (40 + number % 7, 30 + number // 7)
            colour_image(*shown(number), size=size).save(path)
        labels = sorted({name for name in shown(number) if name in names})
        rows.append({"image": path.name, "labels": labels, "split": "train"})
    file = folder / f"{len(names)}.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path: Path, encoder: CountingEncoder) -> Project:
    made = taistore.create(tmp_path / "store", labels=FIRST, encoder="colours")
    made.ingest_images(manifest(tmp_path, names=FIRST), split="train", regions=0)
    made.generate_texts(300)
    return made


def precision(found: Evaluation, key: str, step: str = "adapter_logits") -> float:
    """A label's AP."""
    return next(one.average_precision[step] for one in found.labels if one.key == key)


def weights(run: Run) -> dict[str, Any]:
    """What was learnt."""
    return load_file(run.folder / WEIGHTS)


def test_adding_labels_encodes_no_photo_and_writes_only_what_is_new(
    project: Project, encoder: CountingEncoder, tmp_path: Path
) -> None:
    before = {row["text_id"] for row in project.texts().to_dicts()}
    photos, texts = encoder.encoded, encoder.texts
    project.add_labels(LATER)
    found = project.generate_texts(300)
    fresh = [row for row in project.texts().to_dicts() if row["text_id"] not in before]
    assert before < {row["text_id"] for row in project.texts().to_dicts()}
    assert found.written == len(fresh) == project.store.count("texts") - len(before)
    assert [
        row["text"] for row in fresh if not any(name in row["text"].lower() for name in LATER)
    ] == []
    # New captions, and ten prompts of each new label.
    assert encoder.texts - texts <= len(fresh) + 10 * len(LATER)
    project.train("zsl")
    project.ingest_images(manifest(tmp_path, names=[*FIRST, *LATER]), split="train", regions=0)
    assert encoder.encoded == photos
    assert project.generate_texts(300).written == 0


def test_a_run_from_before_is_as_it_was(project: Project, tmp_path: Path) -> None:
    run = project.train("pll", epochs=3)
    before = run.evaluate(split="train")
    tags = run.tags(split="train", known="ignore", top_k=2).sort("uri", "rank")
    project.add_labels(LATER)
    project.generate_texts(300)
    project.retire_labels([FIRST[0]])
    project.merge_labels([FIRST[1]], FIRST[2])
    again = taistore.open(project.uri).run(run.run_id)
    assert again.labels.keys == FIRST
    after = again.evaluate(split="train")
    assert [one.average_precision for one in after.labels] == [
        one.average_precision for one in before.labels
    ]
    assert again.tags(split="train", known="ignore", top_k=2).sort("uri", "rank").equals(tags)
    # What a photo is known to show is said by the run's labels, not by the store's of today.
    known = again.tags(split="train", top_k=1)
    assert set(known["label_key"]) == set(FIRST)
    out = tmp_path / "tags.jsonl"
    again.score(out=out)
    keys = {json.loads(line)["label_key"] for line in out.read_text("utf-8").splitlines()}
    assert keys <= set(FIRST)


def test_a_training_from_a_run_keeps_what_it_learnt(project: Project) -> None:
    first = project.train("zsl", epochs=5)
    project.add_labels(LATER)
    project.generate_texts(300)
    # A rate of next to nothing leaves the weights where they began.
    second = project.train("zsl", from_run=first.run_id, epochs=1, lr=1e-9, weight_decay=0)
    old, new = weights(first), weights(second)
    count = len(FIRST)
    np.testing.assert_allclose(new["linear.weight"][:count], old["linear.weight"], atol=1e-6)
    np.testing.assert_allclose(new["linear.bias"][:count], old["linear.bias"], atol=1e-6)
    np.testing.assert_allclose(new["scale"], old["scale"], atol=1e-6)
    assert np.abs(new["linear.weight"][count:]).max() < 1e-6
    assert np.abs(old["linear.weight"]).max() > 1e-3
    assert second.config["from_run"] == first.run_id
    latest = project.train("zsl", from_run="latest", epochs=1)
    assert latest.config["from_run"] == second.run_id


def test_what_no_training_can_begin_with_is_refused(project: Project) -> None:
    run = project.train("zsl", epochs=1)
    with pytest.raises(TrainingError, match=r"begin with one of the encoder, network and hidden="):
        project.train("zsl", from_run=run.run_id, hidden=8)
    with pytest.raises(StoreError, match="no run 'gone'"):
        project.train("zsl", from_run="gone")
    project.add_labels(LATER)
    project.generate_texts(300)
    with pytest.raises(TrainingError, match="has none of these labels"):
        project.train("zsl", from_run=run.run_id, labels=LATER)


def test_a_run_of_some_labels(project: Project, tmp_path: Path) -> None:
    some = [FIRST[4], FIRST[1]]
    run = project.train("pll", labels=some, epochs=3)
    assert run.labels.keys == [FIRST[1], FIRST[4]]
    assert weights(run)["linear.weight"].shape[0] == 2
    found = run.evaluate(split="train")
    assert [one.key for one in found.labels] == [FIRST[1], FIRST[4]]
    positives = {name: sum(name in shown(n) for n in range(48)) for name in some}
    assert {one.key: one.positives for one in found.labels} == positives
    assert precision(found, FIRST[1]) > 0.9
    assert set(run.tags(split="train")["label_key"]) <= set(some)
    other = project.train("pll", labels=FIRST[3:6], epochs=3)
    shared = run.compare(other, split="train")
    assert [one.key for one in shared.labels] == [FIRST[4]]
    with pytest.raises(StoreError, match="has no label 'mauve'"):
        project.train("pll", labels=["mauve"])


def test_a_stopped_run_goes_on_with_its_own_labels(project: Project) -> None:
    whole = project.train("zsl", epochs=4, labels=FIRST[:5])
    stopped: list[str] = []

    def stop(run_id: str) -> None:
        stopped.append(run_id)
        raise StopRequested(2)

    with pytest.raises(StopRequested):
        project.train("zsl", epochs=4, labels=FIRST[:5], on_start=stop)
    project.add_labels(LATER)
    project.retire_labels([FIRST[0]])
    project.generate_texts(300)
    run = taistore.open(project.uri).resume(stopped[0])
    assert run.labels.keys == FIRST[:5]
    theirs = weights(run)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, theirs[name])


def test_a_label_that_was_added_is_as_good_as_one_from_the_start(
    tmp_path: Path, project: Project
) -> None:
    project.train("zsl")
    project.add_labels(LATER)
    project.generate_texts(430)
    project.ingest_images(manifest(tmp_path, names=[*FIRST, *LATER]), split="train", regions=0)
    grown = project.train("zsl", from_run="latest").evaluate(split="train")
    anew = taistore.create(tmp_path / "anew", labels=[*FIRST, *LATER], encoder="colours")
    anew.ingest_images(manifest(tmp_path, names=[*FIRST, *LATER]), split="train", regions=0)
    anew.generate_texts(430)
    fresh = anew.train("zsl").evaluate(split="train")
    for name in LATER:
        assert precision(grown, name) > precision(fresh, name) - 0.02


def test_new_captions_carry_the_new_name(project: Project) -> None:
    count = project.store.count("texts")
    found = project.rename_label(FIRST[0], "crimson", rewrite=True)
    assert 0 < found.captions_removed < count
    assert project.generate_texts(300).written == found.captions_removed
    said = [row["text"] for row in project.texts().to_dicts()]
    assert any("crimson" in text for text in said)
    assert not any(f" {FIRST[0]} " in f" {text} " for text in said)
    assert not project.verify(project.uri).findings


def test_the_commands(project: Project, tmp_path: Path) -> None:
    def call(*arguments: str) -> dict[str, Any]:
        given = [*arguments, "--store", project.uri, "--json"]
        done = CliRunner().invoke(main, given, catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    (tmp_path / "more.txt").write_text("\n".join(LATER[:2]), encoding="utf-8")
    assert call("labels", "add", str(tmp_path / "more.txt"))["added"] == LATER[:2]
    assert call("labels", "add", LATER[2], FIRST[0]) == {
        **{"added": [LATER[2]], "restored": [], "changed": [], "there": [FIRST[0]]},
        "labels": 10,
    }
    assert call("labels", "rename", FIRST[0], "crimson")["synonyms"] == [FIRST[0]]
    assert call("labels", "merge", FIRST[1], "--into", FIRST[2])["key"] == FIRST[2]
    assert call("labels", "retire", FIRST[3])["labels"] == 8
    rows = {row["key"]: row for row in call("labels")["labels"]}
    assert rows == {row["key"]: row for row in call("labels", "list")["labels"]}
    assert [rows[key]["retired"] for key in FIRST[:4]] == [False, True, False, True]
    assert rows[FIRST[1]]["merged_into"] == 2
    call("generate-texts", "--count", "300")
    trained = call("train", "--labels", str(tmp_path / "more.txt"), "--epochs", "1")
    assert taistore.open(project.uri).run(trained["run_id"]).labels.keys == LATER[:2]
    again = call("train", "--from", trained["run_id"], "--epochs", "1")
    assert again["config"]["from_run"] == trained["run_id"]


def test_a_training_says_which_labels_no_caption_names(tmp_path: Path, project: Project) -> None:
    told: list[str] = []
    project.add_labels(LATER)
    taistore.open(project.uri, note=told.append).train("zsl", epochs=1)
    assert any("no caption names 3 of 10 labels" in line for line in told)
