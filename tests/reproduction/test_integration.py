"""``reproduce --scores``: the paper's method averaged with another system's scores."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from taistore.errors import ScoringError
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.reproduction.table_texts import TableTexts
from taistore.scoring.loaded_run import open_run
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.reproduction.small_sets import COLOUR_NAMES, own_form
from tests.reproduction.test_reproduce import encoder, run, small

__all__ = ["encoder"]

QUICK = {
    "methods": ("paper",),
    "settings": {"hidden": 16, "epochs": 2},
    "texts": TableTexts(count=40),
}


def _scores(store: Store, path: Path, *, seed: int) -> pl.DataFrame:
    """Scores of the images to test, far from [0, 1], in another order of labels."""
    ids = [image.decode() for image in PartialLabels.read(store, split="test").image_ids.tolist()]
    random = np.random.default_rng(seed)
    columns = {name: random.normal(5, 20, len(ids)) for name in reversed(COLOUR_NAMES)}
    frame = pl.DataFrame({"image_id": ids, **columns})
    path.parent.mkdir(exist_ok=True)
    frame.write_parquet(path)
    return frame


def _transcribed(store: Store, run_id: str, frame: pl.DataFrame) -> float:
    """mAP in percent of the mean of sigmoid(logits) and of scores scaled over the whole matrix."""
    known = PartialLabels.read(store, split="test")
    ids = frame["image_id"].to_list()
    opened = open_run(store, run_id)
    vectors = store.vectors("image_vectors", ids, encoder_id=opened.encoder_id)
    whole_ID = torch.from_numpy(vectors.astype(np.float32))
    logits_IN = opened.ladder.scores(whole_ID, steps=("adapter_logits",))["adapter_logits"]
    other_IN = frame.select(COLOUR_NAMES).to_numpy()
    other_IN = (other_IN - other_IN.min()) / (other_IN.max() - other_IN.min())
    scores_IN = (1 / (1 + np.exp(-logits_IN.numpy())) + other_IN) / 2
    truth_IN = known.truth(known.find(ids))
    return 100 * mean_average_precision(average_precision(scores_IN, truth_IN))


def test_the_average_is_the_papers_and_a_column_without_scores_has_none(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    alone = run(small("table1"), tmp_path, **QUICK)
    assert "ours stand alone unless scores= names some" in alone.text()
    store = Store.open(alone.sets[0].store)
    scores = tmp_path / "scores"
    frame = _scores(store, scores / "colours-10%.parquet", seed=0)
    found = run(small("table1"), tmp_path, scores=scores, **QUICK)
    (result,) = found.sets
    assert (result.trained, [row.method for row in result.rows]) == (
        0,
        ["zero_shot", "paper", "paper-integrated"],
    )
    ((value,), (none,)) = result.rows[2].values
    assert value == pytest.approx(_transcribed(store, result.runs[0], frame), abs=1e-4)
    assert value != pytest.approx(result.rows[1].values[0][0], abs=0.01)
    assert np.isnan(none)
    assert found.to_json()["sets"][0]["here"][2]["mAP"][1] is None
    assert found.missing == (f"scores of DualCoOp: no colours-20%.parquet (or .npy) in {scores}",)
    assert "ours stand alone" not in found.text()
    (line,) = (line for line in found.text().splitlines() if "averaged with" in line)
    assert line.split()[-1] == "-"


def test_an_ensemble_is_made_once_and_again_for_other_scores(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    store = Store.open(run(small("table3", 1), tmp_path, **QUICK).sets[0].store)
    scores = tmp_path / "scores"
    path = scores / "colours.parquet"
    _scores(store, path, seed=0)
    first = run(small("table3", 1), tmp_path, scores=scores, **QUICK)
    runs = [row.run_id for row in store.runs()]
    again = run(small("table3", 1), tmp_path, scores=scores, **QUICK)
    assert [row.run_id for row in store.runs()] == runs
    assert again.sets[0].rows == first.sets[0].rows
    # As old and of the same name, but other scores.
    other = tmp_path / "other"
    frame = _scores(store, other / "colours.parquet", seed=1)
    os.utime(other / "colours.parquet", (0, 0))
    (changed,) = run(small("table3", 1), tmp_path, scores=other, **QUICK).sets
    assert len(store.runs()) == len(runs) + 1
    expected = _transcribed(store, changed.runs[0], frame)
    assert changed.rows[2].values[0][0] == pytest.approx(expected, abs=1e-4)


def test_scores_that_have_no_place_are_refused_before_anything_is_made(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    with pytest.raises(ScoringError, match="table2 averages with no other system"):
        run(small("table2"), tmp_path, scores=tmp_path)
    with pytest.raises(ScoringError, match="are averaged with method=paper, which is not run"):
        run(small("table1"), tmp_path, scores=tmp_path, methods=("default",))
    with pytest.raises(ScoringError, match="nowhere: no such folder"):
        run(small("table1"), tmp_path, scores=tmp_path / "nowhere")
    assert encoder.encoded == 0
    (tmp_path / "colours.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ScoringError, match=r"colours.parquet: cannot be read"):
        run(small("table1", 1), tmp_path, scores=tmp_path, **QUICK)
    assert not list((tmp_path / "work").rglob("adapter.safetensors"))
