"""What Python does and what the command line does are one: the same weights, bit for bit."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import taistore
from taistore.project import Project
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.scoring.tag_frames import read_tag_frame

PHOTOS = 240
"""Enough unlabelled photos for zsl to go by them."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A store of colours with labelled photos, half to train and half to test."""
    taistore.register_encoder("colours", ColourEncoder)
    folder = tmp_path_factory.mktemp("same")
    (folder / "photos").mkdir()
    names = list(COLOURS)
    rows = []
    for n in range(PHOTOS):
        shown = [names[n % len(names)], names[(n * 5 + 1 + n // len(names)) % len(names)]]
        path = folder / "photos" / f"{n}.png"
        colour_image(*shown, size=(40 + n % 7, 30)).save(path)
        split = "train" if n % 2 else "test"
        rows.append({"image": f"photos/{n}.png", "labels": sorted(set(shown)), "split": split})
    manifest = folder / "photos.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = taistore.create(folder / "store", labels=names, encoder="colours")
    made.generate_texts(300)
    made.ingest_images(manifest, regions=2)
    return made


def command(project: Project, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        main, [*arguments, "--store", project.uri, "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def weights(project: Project, run_id: str) -> bytes:
    return (project.run(run_id).folder / "adapter.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--task", "zsl"], {"task": "zsl"}),
        (["--task", "zsl", "--shift", "none", "--seed", "3"], {"shift": "none", "seed": 3}),
        (
            ["--task", "zsl", "--network", "paper", "--epochs", "2"],
            {"network": "paper", "epochs": 2},
        ),
        (["--task", "fsl", "--shots", "2"], {"task": "fsl", "shots": 2}),
        (
            ["--task", "pll", "--known", "0.5", "--mask-seed", "2"],
            {"task": "pll", "known": 0.5, "mask_seed": 2},
        ),
    ],
    ids=["zsl", "zsl-texts-alone", "paper", "fsl", "pll"],
)
def test_training(project: Project, arguments: list[str], settings: dict[str, Any]) -> None:
    quick = {"epochs": 2} | settings
    typed = command(project, "train", *arguments, "--epochs", "2")["run_id"]
    called = project.train(**quick)
    assert called.run_id != typed
    assert weights(project, called.run_id) == weights(project, typed)
    ladder = command(project, "evaluate", typed)["ladder"]
    assert called.evaluate().to_json()["ladder"] == ladder


def test_scoring(project: Project, tmp_path: Path) -> None:
    run = project.train(epochs=1)
    photos = str(Path(project.uri).parent / "photos")
    given: list[tuple[list[str], dict[str, Any]]] = [
        ([], {}),
        (["--known", "ignore"], {"known": "ignore"}),
    ]
    written = []
    for n, (flags, options) in enumerate(given):
        for source in ([photos], []):
            out, called = tmp_path / f"typed{n}.jsonl", tmp_path / f"called{n}.jsonl"
            command(project, "score", run.run_id, *source, "--out", str(out), *flags, "--overwrite")
            run.score(*source, out=called, overwrite=True, **options)
            assert called.read_bytes() == out.read_bytes()
        frame = run.tags(**options)
        assert frame.equals(read_tag_frame(out))
        written.append(frame)
    assert not written[0].equals(written[1])


def test_pruning(project: Project) -> None:
    photos = Path(project.uri).parent / "photos"
    called = project.prune(photos)
    assert called.images == PHOTOS
    assert command(project, "prune", str(photos)) == json.loads(json.dumps(asdict(called)))
