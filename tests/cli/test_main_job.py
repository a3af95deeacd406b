"""The main job through the command line, with the packaged encoder and real photos."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from taistore.contracts import SCORES
from taistore_cli.demo_photos import demo_labels, write_demo_photos
from taistore_cli.main import main

ENCODER = "packaged:lite0@224"
STEPS = [
    "zero_shot",
    "standardised",
    "regions",
    "adapter_logits",
    "adapter_global",
    "adapter",
    "ensemble",
]


def run(*arguments: str | Path) -> dict[str, Any]:
    """One command with --json; its only line on stdout, decoded."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(result.stdout)
    return value


class Job:
    """A store after init, generate-texts, ingest-images and train."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.at = ("--store", folder / "store")
        self.manifest = write_demo_photos(folder, pairs=4, fours=2)
        self.labels = folder / "labels.txt"
        self.labels.write_text("\n".join(demo_labels()) + "\n", encoding="utf-8")
        self.init = run("init", self.labels, "--encoder", ENCODER, *self.at)
        self.texts = run("generate-texts", "--count", "300", *self.at)
        self.images = run("ingest-images", self.manifest, "--regions", "7", *self.at)
        self.run = run("train", "--task", "zsl", *self.at)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("job"))


def test_each_command_reports_what_it_did(job: Job) -> None:
    assert job.init["labels"] == 19
    assert job.texts["written"] + job.texts["repeated"] == 300
    assert (job.images["seen"], job.images["added"], job.images["rejected"]) == (14, 14, 0)
    assert Path(job.run["checkpoint"], "adapter.safetensors").is_file()
    assert json.loads(Path(job.run["checkpoint"], "card.json").read_text(encoding="utf-8"))


def test_doing_it_again_does_nothing_twice(job: Job) -> None:
    again = run("generate-texts", "--count", "300", *job.at)
    assert again["written"] == 0
    assert run("ingest-images", job.manifest, "--regions", "7", *job.at)["encoded"] == 0


def test_evaluate_prints_the_whole_ladder(job: Job) -> None:
    found = run("evaluate", job.run["run_id"], "--split", "test", *job.at)
    assert list(found["ladder"]) == STEPS
    assert found["images"] == 14
    for figures in found["ladder"].values():
        assert 30 < figures["mAP"] <= 100
        assert 0 < figures["micro_AP"] <= 100
    assert found["ladder"]["ensemble"]["mAP"] > found["ladder"]["zero_shot"]["mAP"] - 2
    by_name = {label["name"]: label for label in found["labels"]}
    assert by_name["cat"]["AP"] > 80
    assert by_name["pizza"]["AP"] is None


def test_score_the_store_and_a_folder(job: Job, tmp_path: Path) -> None:
    tags, page = tmp_path / "tags.parquet", tmp_path / "tags.html"
    stored = run("score", "latest", "--out", tags, "--html", page, *job.at)
    assert stored["images"] == 14
    table = pq.read_table(tags)
    assert table.schema.equals(SCORES)
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") >= 14
    assert 'step="0.01" value="0.25"' in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")

    sheet = tmp_path / "tags.csv"
    options = ("--top-k", "1", "--out", sheet)
    folder = run("score", "latest", job.folder / "photos", *options, *job.at)
    assert folder["images"] == 14
    with sheet.open(newline="", encoding="utf-8") as rows:
        best = {Path(row["uri"]).stem[3:]: row["label_key"] for row in csv.DictReader(rows)}
    assert best["chelsea"] == "cat"
    assert best["motorcycle_left"] == "motorcycle"
    assert best["astronaut"] in {"person", "rocket"}


def test_a_finished_file_is_not_overwritten(job: Job, tmp_path: Path) -> None:
    tags = tmp_path / "tags.jsonl"
    run("score", "latest", "--out", tags, *job.at)
    arguments = ["score", "latest", "--out", str(tags), *map(str, job.at)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert run(*arguments, "--overwrite")["images"] == 14


def test_show_counts_everything(job: Job) -> None:
    shown = run("show", *job.at)
    assert shown["tables"]["images"] == 14
    assert shown["tables"]["rejects"] == 0
    assert shown["encoders"][0]["region_vectors"] == 14
    assert [row["status"] for row in shown["runs"]] == ["finished"]


def test_the_papers_network_by_name(job: Job) -> None:
    paper = run("train", "--network", "paper", "--epochs", "2", "--radius", "1x", *job.at)
    assert paper["config"]["network"] == "paper"
    assert paper["config"]["radius"] == "1x"
    again = run("train", "--resume", paper["run_id"], *job.at)
    assert again["run_id"] == paper["run_id"]


def test_a_second_encoder_stands_beside_the_first(job: Job) -> None:
    other = ("--encoder", "packaged:lite0@192")
    before = run("show", *job.at)["encoders"]
    assert run("generate-texts", "--count", "300", *other, *job.at)["encoded_earlier"] > 0
    assert run("ingest-images", job.manifest, *other, *job.at)["encoded"] == 14
    after = run("show", *job.at)["encoders"]
    assert len(after) == len(before) + 1
    assert all(row in after for row in before)
