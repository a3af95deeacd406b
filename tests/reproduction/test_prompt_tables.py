"""Tables with prompt learners, trained here: CoOp, DualCoOp, TaI-DPT; averaged as published."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.adapter.run_files.run_folder import run_folder
from taistore.errors import EncoderError, ScoringError
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.reproduction.table_report import Reproduction
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import TABLES
from taistore.scoring.matrices.export_scores import export_scores
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.encoders import small_models
from tests.fakes import ColourEncoder
from tests.reproduction.small_sets import own_form
from tests.reproduction.test_reproduce import encoder, run, small

__all__ = ["encoder"]

TEXTS = TableTexts(count=40)


def tables(tmp_path: Path, name: str, methods: tuple[str, ...], **options: object) -> Reproduction:
    """One column of a table, with a real model whose text tower takes embeddings."""
    weights = tmp_path / "weights"
    if not weights.exists():
        weights.mkdir()
        small_models.save("small-resnet", weights)
        own_form(tmp_path / "data")
    (file,) = weights.iterdir()
    return run(
        small(name, 1),
        tmp_path,
        encoder_spec=f"open_clip:small-resnet/{file}",
        texts=TEXTS,
        methods=methods,
        settings={"hidden": 16, "epochs": 2} if "paper" in methods else {},
        **options,
    )


def matrix(store: Store, run_id: str, step: str, path: Path) -> NDArray[np.float32]:
    """The scores of the images to test, in the order of the store."""
    export_scores(store, run_id, path, split="test", step=step)  # type: ignore[arg-type]
    scores_IN: NDArray[np.float32] = np.load(path)
    return scores_IN


def scaled(scores_IN: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = scores_IN.min(), scores_IN.max()
    between_IN: NDArray[np.float32] = (scores_IN - low) / (high - low)
    return between_IN


@pytest.mark.parametrize(
    ("name", "other", "share"), [("table1", "dualcoop", 0.9), ("table3", "coop", 0.6)]
)
def test_both_are_averaged_with_the_system_that_was_trained_here(
    tmp_path: Path, name: str, other: str, share: float
) -> None:
    found = tables(tmp_path, name, ("paper", other, "tai-dpt"), regions=2)
    (result,) = found.sets
    rows = {row.method: row for row in result.rows}
    assert list(rows) == [
        "zero_shot",
        *("paper", other, "tai-dpt"),
        *("paper-integrated", "tai-dpt-integrated"),
    ]
    assert (rows[other].step, rows["tai-dpt"].step) == ("prompts", "prompts")
    store = Store.open(result.store)
    ids = dict(zip(("paper", other, "tai-dpt"), result.runs, strict=True))
    assert [store.run(one).config.get("method") for one in result.runs] == [None, other, "tai-dpt"]
    of = {
        method: matrix(store, ids[method], step, tmp_path / f"{method}.npy")
        for method, step in (
            ("paper", "adapter_logits"),
            (other, "prompts"),
            ("tai-dpt", "prompts"),
        )
    }
    # By what they are made with: of so few images the precision is that of many other averages.
    expected = {
        "paper": (1 / (1 + np.exp(-of["paper"])) + scaled(of[other])) / 2,
        "tai-dpt": (1 - share) * scaled(of["tai-dpt"]) + share * scaled(of[other]),
    }
    method_of = {run_id: method for method, run_id in ids.items()}
    made = [row for row in store.runs() if row.task == "ensemble"]
    assert len(made) == 2
    order = (tmp_path / "paper.ids.txt").read_text().split()
    known = PartialLabels.read(store, split="test")
    truth_IN = known.truth(known.find(order))
    for row in made:
        method = method_of[row.config["members"][0]]
        integrated = rows[f"{method}-integrated"]
        averaged_IN = matrix(store, row.run_id, integrated.step, tmp_path / f"{row.run_id}.npy")
        np.testing.assert_allclose(averaged_IN, expected[method], atol=1e-5)
        precision = 100 * mean_average_precision(average_precision(averaged_IN, truth_IN))
        ((value,),) = integrated.values
        assert value == pytest.approx(precision, abs=1e-4)
    assert "ours stand alone" not in found.text()
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    beside = {row["method"]: row["beside"] for row in told["sets"][0]["here"]}
    assert beside["tai-dpt-integrated"] == "TaI-DPT*"
    assert beside[other] in TABLES[name].published["voc2007"]
    again = tables(tmp_path, name, ("paper", other, "tai-dpt"), regions=2)
    assert again.sets[0].trained == 0
    assert again.sets[0].rows == result.rows
    assert not any("scores" in path.name for path in run_folder(store, ids[other]).iterdir())
    assert len([row for row in store.runs() if row.task == "ensemble"]) == 2


def test_tai_dpt_beside_table_2(tmp_path: Path) -> None:
    found = tables(tmp_path, "table2", ("tai-dpt",))
    (result,) = found.sets
    assert [row.method for row in result.rows] == ["zero_shot", "tai-dpt"]
    assert result.trained == 1


def test_one_training_of_tai_dpt_serves_every_column(tmp_path: Path) -> None:
    configs = [
        TABLES["table1"].learner_config("tai-dpt", column, seed=0, split="train", like=None)
        for column in TABLES["table1"].columns
    ]
    assert len({json.dumps(config.to_json()) for config in configs}) == 1
    nus = TABLES["table1"].learner_config(
        "tai-dpt", TABLES["table1"].columns[0], seed=0, split="train", like="nuswide"
    )
    assert (configs[0].lr, configs[0].spatial_test) == (1e-4, 40.0)
    assert (nus.lr, nus.spatial_test) == (1e-3, 4.0)


def test_what_cannot_be_run_is_told_before_anything_is_encoded(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    with pytest.raises(ScoringError, match="learns from regions of images: give regions=7"):
        run(small("table1"), tmp_path, methods=("dualcoop",))
    with pytest.raises(ScoringError, match="table2 has no method=coop: it has paper, default"):
        run(small("table2"), tmp_path, methods=("coop",))
    with pytest.raises(EncoderError, match="no text tower that takes embeddings"):
        run(small("table2"), tmp_path, methods=("tai-dpt",))
    with pytest.raises(ScoringError, match="the same system twice: leave one of them out"):
        run(small("table1"), tmp_path, methods=("paper", "dualcoop"), regions=2, scores=tmp_path)
    assert encoder.encoded == 0
