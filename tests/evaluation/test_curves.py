"""Pictures of evaluations, from runs that differ in one setting."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from taistore.evaluation import curves
from taistore.evaluation.curves import CURVES, curve_points, draw_evaluation
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.report import Evaluation
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, new_store, prompts
from tests.scoring.runs import add_random_run

RADIUS, SHOTS, KNOWN = CURVES


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    return store


def run(store: Store, encoder: ColourEncoder, run_id: str, **config: Any) -> Evaluation:
    add_random_run(store, run_id, prompts(encoder), **config)
    return evaluate(store, run_id)


def test_one_run_gives_its_ladder_and_labels(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    paths = draw_evaluation(store, run(store, encoder, "a"), folder=tmp_path / "p")
    assert [p.name for p in paths] == ["ladder.png", "ladder.svg", "labels.png", "labels.svg"]
    assert all(path.stat().st_size > 1000 for path in paths)
    text = (tmp_path / "p" / "labels.svg").read_text()
    assert "yellow (3)" in text
    first = (tmp_path / "p" / "ladder.svg").read_bytes()
    draw_evaluation(store, evaluate(store, "a"), folder=tmp_path / "q")
    assert (tmp_path / "q" / "ladder.svg").read_bytes() == first


def test_intervals_are_drawn_where_there_are_any(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_random_run(store, "a", prompts(encoder))
    found = evaluate(store, "a", bootstrap=100)
    curves.draw_ladder(found, folder=tmp_path)
    assert found.intervals is not None
    low, _ = found.intervals.mean_average_precision["zero_shot"]
    assert f"({100 * low:.1f} to " in (tmp_path / "ladder.svg").read_text()


def test_radius_from_runs_that_differ_in_it_alone(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    run(store, encoder, "other", radius=5.0, epochs=3)
    run(store, encoder, "inside", radius=20.0, where="interior")
    for seed, radius in ((0, 0.0), (0, 10.0), (1, 10.0)):
        run(store, encoder, f"r{radius}-{seed}", radius=radius, seed=seed)
    found = run(store, encoder, "last", radius=25.0)
    lines = curve_points(store, found, RADIUS)
    # The ensemble's and the adapter's, on the surface and inside; the other epochs' are left out.
    assert {name: sorted(points) for name, points in lines.items()} == {
        "adapter, interior": [2.0],
        "adapter, surface": [0.0, 1.0, 2.5],
        "ensemble, interior": [2.0],
        "ensemble, surface": [0.0, 1.0, 2.5],
    }
    assert [len(values) for _, values in sorted(lines["adapter, surface"].items())] == [1, 2, 1]
    assert lines["adapter, surface"][2.5] == [
        pytest.approx(100 * found.ladder["adapter"].mean_average_precision, abs=0.01)
    ]
    names = [path.name for path in draw_evaluation(store, found, folder=tmp_path / "p")]
    assert names[-2:] == ["radius.png", "radius.svg"]


def test_shots_and_known_parts_start_from_texts_alone(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    run(store, encoder, "texts")
    run(store, encoder, "other texts", epochs=3)
    for shots in (1, 2, 4, 8, 16):
        for seed in (0, 1):
            run(
                store,
                encoder,
                f"fsl-{shots}-{seed}",
                task="fsl",
                shots=shots,
                seed=seed,
                shot_seed=seed,
            )
    found = evaluate(store, "fsl-4-0")
    lines = curve_points(store, found, SHOTS)
    assert sorted(lines) == ["adapter", "ensemble"]
    assert {x: len(values) for x, values in sorted(lines["adapter"].items())} == {
        0.0: 1,
        **dict.fromkeys((1.0, 2.0, 4.0, 8.0, 16.0), 2),
    }
    names = [path.name for path in draw_evaluation(store, found, folder=tmp_path)]
    assert names[-2:] == ["shots.png", "shots.svg"]
    for known in (0.1, 0.3, 1.0):
        found = run(store, encoder, f"pll-{known}", task="pll", known=known)
    assert sorted(curve_points(store, found, KNOWN)["adapter"]) == [0.0, 10.0, 30.0, 100.0]
    texts = evaluate(store, "texts")
    assert curve_points(store, texts, SHOTS) == curve_points(store, texts, KNOWN) == {}


def test_runs_without_an_evaluation_of_the_split_do_not_count(
    store: Store, encoder: ColourEncoder
) -> None:
    add_random_run(store, "not evaluated", prompts(encoder), radius=5.0)
    found = run(store, encoder, "a")
    assert list(curve_points(store, found, RADIUS)["adapter, surface"]) == [2.5]


def test_an_ensemble_has_no_curves(store: Store, encoder: ColourEncoder) -> None:
    found = run(store, encoder, "a")
    run(store, encoder, "b", radius=5.0)
    row = store.run("a")
    store.record_run({**row, "task": "ensemble", "config": {"members": ["b", "c"]}})
    assert curve_points(store, found, RADIUS) == {}
    other = evaluate(store, "b")
    assert list(curve_points(store, other, RADIUS)["adapter, surface"]) == [0.5]


def test_labels_without_formulas_or_markup(tmp_path: Path, encoder: ColourEncoder) -> None:
    store = new_store(tmp_path / "s", encoder)
    add_pictures(store, encoder)
    found = run(store, encoder, "a")
    labels = found.labels
    names = ["<script>", "$x$", "_y", "a & b", "\x1b[31m", "w" * 80]
    odd = tuple(
        dataclasses.replace(label, name=name) for label, name in zip(labels, names, strict=True)
    )
    curves.draw_labels(dataclasses.replace(found, labels=odd), folder=tmp_path)
    text = (tmp_path / "labels.svg").read_text()
    assert "<script" not in text
    assert "$x$ (" in text
    assert "\x1b" not in text
    assert "w" * 27 + "…" in text


def test_of_many_labels_the_best_and_worst_are_drawn(
    store: Store, encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MOST_LABELS", 4)
    curves.draw_labels(run(store, encoder, "a"), folder=tmp_path)
    assert "the best and the worst 2 of 6 labels" in (tmp_path / "labels.svg").read_text()
