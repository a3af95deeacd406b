"""``taistore centroids`` and ``upgrade`` from the command line."""

import json
import re
from pathlib import Path
from typing import Any

import lancedb
import pytest
from click.testing import CliRunner

from taistore.contracts import STORE_VERSION, VERSION_KEY
from taistore.store.store import Store
from taistore_cli.main import main
from tests.adapter.stores import label_set
from tests.geometry.stores import add_images, image_store

N = 6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """60 labelled images of split train, label 5 known of none; 200 texts."""
    store = image_store(tmp_path / "s", labels=N, texts=200)
    add_images(store, range(60), [[i % 5] for i in range(60)])
    return store


def _run(store: Store, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["centroids", "--store", store.uri, "--json", *arguments])
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _spec(store: Store) -> list[str]:
    return ["--encoder", store.encoders()[0].spec]


@pytest.fixture(autouse=True)
def _any_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test encoder exists in name only, and so is no spec that the registry knows."""
    monkeypatch.setattr("taistore.encoders.registry.canonical_spec", lambda spec: spec)


def test_every_label_is_shown_with_the_source_of_its_estimate(store: Store) -> None:
    found = _run(store)
    assert found["images"] == 60
    assert [row["key"] for row in found["labels"]] == label_set(N).keys
    assert [row["images"] for row in found["labels"]] == [12] * 5 + [0]
    assert [row["source"] for row in found["labels"]] == ["shrunk"] * 5 + ["neighbours"]
    assert found["labels"][0]["dispersion"] > 0
    assert found["labels"][0]["distance"] > 0
    assert found["labels"][5]["dispersion"] is None
    assert 0 <= found["labels"][0]["before"] <= 1
    assert 0 <= found["after"] <= 1


def test_the_papers_form_leaves_labels_without_images_alone(store: Store) -> None:
    found = _run(store, "--pseudo-counts", "0")
    assert [row["source"] for row in found["labels"]] == ["images"] * 5 + ["none"]
    assert found["shift"]["labels_without_shift"] == 1


def test_a_masked_run_compares_with_all_labels(store: Store) -> None:
    found = _run(store, "--known", "0.3", "--mask-seed", "1")
    assert 0 < sum(row["images"] for row in found["labels"]) < 40
    assert all(row["error"] > 0 for row in found["labels"][:5])


def test_people_get_a_table(store: Store) -> None:
    done = CliRunner().invoke(main, ["centroids", "--store", store.uri, "--quiet", *_spec(store)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "60 images of split 'train'"
    assert lines[1].split()[:3] == ["label", "images", "spread"]
    assert lines[7].split()[:4] == ["thing", "5", "0", "-"]


def test_pictures(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = _run(store, "--known", "0.5", "--plots", str(tmp_path / "plots"))
    assert [Path(path).suffix for path in found["plots"]] == [".png", ".svg"]
    assert all(Path(path).stat().st_size > 1000 for path in found["plots"])


def test_pictures_where_every_image_shows_several_labels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    store = image_store(tmp_path / "s", labels=N, texts=200)
    add_images(store, range(60), [[i % 5, (i + 1) % 5] for i in range(60)])
    # A mask that leaves nothing known is no reason not to draw either.
    for n, known in enumerate(((), ("--known", "1e-6"))):
        found = _run(store, *known, "--plots", str(tmp_path / f"plots{n}"))
        assert all(Path(path).stat().st_size > 1000 for path in found["plots"])


def test_no_picture_of_nothing_is_said_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    store = image_store(tmp_path / "s", labels=N, texts=200)
    add_images(store, range(3), [[]] * 3, negatives=[[0]] * 3)
    arguments = ["centroids", "--store", store.uri, "--quiet", "--plots", str(tmp_path / "plots")]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "is known to show a label: there is nothing to draw, leave --plots out" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "no image of split 'test' has known labels.*'train' \\(60\\)"),
        (["--encoder", "other"], "holds no vectors of encoder other"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    store: Store, arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(main, ["centroids", "--store", store.uri, *arguments])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr)


def test_no_texts_is_said_in_one_line(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    add_images(store, range(3), [[0]] * 3)
    done = CliRunner().invoke(main, ["centroids", "--store", store.uri, "--quiet"])
    assert done.exit_code == 1
    assert "taistore generate-texts" in done.stderr


def test_upgrade_says_what_it_did(store: Store) -> None:
    for name in store.table_names():
        table = lancedb.connect(store.uri).open_table(name).to_lance()
        table.update_schema_metadata({VERSION_KEY.decode(): "1"})
    refused = CliRunner().invoke(main, ["show", "--store", store.uri])
    assert f"taistore upgrade --store {store.uri}" in refused.stderr
    for before in (1, STORE_VERSION):
        done = CliRunner().invoke(main, ["upgrade", "--json", "--store", store.uri])
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["before"] == before
    people = CliRunner().invoke(main, ["upgrade", "--store", store.uri])
    assert "up to date" in people.stdout
