"""``taistore calibrate``, and ``score --precision``, which also names the encoder's numbers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, new_store

ENCODER = ColourEncoder()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrate") / "store"
    made = new_store(path, ENCODER)
    for turn in range(12):
        add_pictures(made, ENCODER, first=100 * turn, split="val")
    add_pictures(made, ENCODER, first=9_000)
    add_run(made, ENCODER)
    return path


def run(command: str, *arguments: object, store: Path) -> Result:
    return CliRunner().invoke(
        main, [command, "latest", *map(str, arguments), "--store", str(store), "--quiet"]
    )


def test_a_threshold_is_promised_used_and_looked_at(store: Path, tmp_path: Path) -> None:
    result = run("calibrate", "--precision", "0.9", store=store)
    assert result.exit_code == 0, result.output
    assert "labels have a threshold for precision 0.9, each with 90% confidence" in result.stdout
    assert "24 of 24 right, at least 0.909" in result.stdout
    out = tmp_path / "tags.jsonl"
    result = run("score", "--precision", "0.9", "--out", out, "--known", "ignore", store=store)
    assert result.exit_code == 0, result.output
    assert "cut: precision 0.9 with 90% confidence a label" in result.stdout
    assert "ranked by" in result.stdout
    result = run("evaluate", store=store)
    assert "precision promised 0.9 by split 'val'" in result.stdout


def test_what_a_label_lacks_is_said(store: Path) -> None:
    result = run("calibrate", "--precision", "0.99", store=store)
    assert "0 of 6 labels have a threshold for precision 0.99" in result.stdout
    # The bound takes 230 right ones; above the best cut of a label two dozens or more are right.
    lacking = [
        line for line in result.stdout.splitlines() if "not enough labelled images: " in line
    ]
    assert lacking
    assert all(line.endswith(" more") for line in lacking)


def test_json_has_every_label(store: Path, tmp_path: Path) -> None:
    found = json.loads(run("calibrate", "--precision", "0.99", "--json", store=store).stdout)
    assert len(found["labels"]) == 6
    assert {"threshold", "lower", "tagged", "right", "precision"} == set(
        found["labels"][0]["cuts"][0]
    )
    out = tmp_path / "tags.jsonl"
    summary = json.loads(
        run("score", "--precision", "0.99", "--out", out, "--json", store=store).stdout
    )
    assert summary["labels_without_cut"] == 6
    assert summary["precision"] == 0.99


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--precision", "fp32"], 0, ""),
        (["--precision", "0.9", "--precision", "fp32"], 0, "cut: precision 0.9"),
        (["--precision", "fp64"], 2, "neither a share such as 0.9 nor one of auto, fp32"),
        (["--precision", "90"], 2, "neither a share such as 0.9"),
        (
            ["--precision", "0.9", "--precision", "0.8"],
            2,
            "one share and one number format",
        ),
        (["--precision", "0.9", "--threshold", "0.5"], 1, "leave out --threshold"),
        (["--precision", "0.85"], 1, "was not calibrated for precision 0.85"),
    ],
    ids=["format", "both", "unknown", "percent", "twice", "threshold", "other"],
)
def test_precision_is_a_share_or_a_format(
    store: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    assert run("calibrate", store=store).exit_code == 0
    result = run("score", *options, "--out", tmp_path / "tags.csv", store=store)
    assert result.exit_code == code, result.output
    assert said in result.output


def test_a_split_without_labels_is_one_line(store: Path) -> None:
    result = run("calibrate", "--split", "train", store=store)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "those that have them ('test' (12), 'val' (144)) with --split" in result.stderr
