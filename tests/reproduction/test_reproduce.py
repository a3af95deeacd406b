"""Running a table end to end on small sets, with an encoder that needs no weights."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import settle
from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError, ScoringError, TrainingError
from taistore.reproduction import reproduce as module
from taistore.reproduction.published_figures import Figures
from taistore.reproduction.reproduce import reproduce
from taistore.reproduction.set_stores import halve
from taistore.reproduction.synthetic_tables.t2i_pal_tables import T2I_TABLES
from taistore.reproduction.table_report import Reproduction, SetResult
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import TABLES, Table
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.reproduction.small_sets import COLOUR_NAMES, own_form, voc2007

SPEC = "packaged:lite0@192"
"""Any known spelling: the encoder that it stands for is replaced."""


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ColourEncoder:
    """What every spec loads."""
    encoder = ColourEncoder()

    def load(spec: str, *, device: str, precision: str) -> Encoder:
        return encoder

    monkeypatch.setattr(module, "load_encoder", load)
    return encoder


def small(name: str, columns: int = 2) -> Table:
    """A table with its first columns only."""
    table = {**TABLES, **T2I_TABLES}[name]

    def cut(figures: Figures) -> Figures:
        return {
            one: {method: values[:columns] for method, values in methods.items()}
            for one, methods in figures.items()
        }

    return dataclasses.replace(
        table,
        columns=table.columns[:columns],
        published=cut(table.published),
        elsewhere=cut(table.elsewhere),
    )


def run(table: Table, tmp_path: Path, **options: Any) -> Reproduction:
    given: dict[str, Any] = {"sets": ["colours"], "encoder_spec": SPEC}
    given["texts"] = TableTexts(count=40)
    given |= {"device": "cpu"} | options
    return reproduce(table, tmp_path / "data", work=tmp_path / "work", **given)


def splits_of(result: SetResult) -> dict[str, str]:
    rows = Store.open(result.store).scan("images", columns=["image_id", "split"])
    return {row["image_id"]: row["split"] for batch in rows for row in batch.to_pylist()}


def test_table2_beside_the_papers_figures(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    found = run(small("table2"), tmp_path, seeds=(0, 1))
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    (colours,) = value["sets"]
    methods = ["zero_shot", "paper", "default", "default-texts"]
    steps = ["zero_shot", "adapter_logits", "ensemble", "ensemble"]
    assert [row["method"] for row in colours["here"]] == methods
    assert [row["step"] for row in colours["here"]] == steps
    assert all(len(row["by_seed"][0]) == 2 for row in colours["here"][1:])
    assert colours["here"][0]["mAP"][0] > 50
    assert (colours["images"], colours["trained"]) == (6, 4)  # both defaults are one run here
    assert (colours["texts"], value["writer"], value["combinations"]) == (40, "template", "uniform")
    frame = found.frame().filter(source="here")
    assert [row[2:6] for row in frame.iter_rows()] == [
        ("zero_shot", "zero_shot", "mAP", None),
        ("paper", "adapter_logits", "mAP", 0),
        ("paper", "adapter_logits", "mAP", 1),
        ("default", "ensemble", "mAP", 0),
        ("default", "ensemble", "mAP", 1),
        ("default-texts", "ensemble", "mAP", 0),
        ("default-texts", "ensemble", "mAP", 1),
    ]
    assert frame["mAP"].round(2).to_list() == [
        figure for row in colours["here"] for figure in row["by_seed"][0]
    ]
    text = found.text()
    assert "here:  the paper's network and settings" in text
    assert "halves" not in text
    assert "tested on one half, by a seeded hash" in text
    assert "no figure compares directly" in text
    assert "texts are written from templates here" in text
    assert "transductive" not in text  # too few photos to go by


def test_run_again_nothing_is_done_twice(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    first = run(small("table2"), tmp_path)
    encoded = encoder.encoded
    again = run(small("table2"), tmp_path)
    assert encoder.encoded == encoded
    assert (first.sets[0].trained, again.sets[0].trained) == (2, 0)
    assert first.sets[0].rows == again.sets[0].rows
    assert first.sets[0].runs == again.sets[0].runs
    assert run(small("table2"), tmp_path, seeds=(0, 1)).sets[0].trained == 2


def test_halves_depend_on_the_images_alone(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    (result,) = run(small("table2"), tmp_path, methods=("default",)).sets
    splits = splits_of(result)
    assert sorted(splits.values()) == ["test"] * 6 + ["train"] * 6
    store = Store.open(result.store)
    before = store.versions([("images", None)])
    halve(store, seed=0)
    assert store.versions([("images", None)]) == before
    halve(store, seed=1)
    assert splits_of(result) != splits


def test_splits_of_a_manifest_are_kept(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data", splits=("train", "train", "val"))
    (result,) = run(small("table2"), tmp_path, methods=("default",)).sets
    assert (result.split, result.images) == ("val", 4)
    own_form(tmp_path / "data", "odd", splits=("fold1", "fold2"))
    with pytest.raises(ScoringError, match=r"no image is of the split test or val \(there are: f"):
        run(small("table2"), tmp_path, sets=["odd"])


@pytest.mark.parametrize("name", ["table1", "table3"])
def test_tables_with_images_train_on_the_other_half(
    tmp_path: Path, encoder: ColourEncoder, name: str
) -> None:
    own_form(tmp_path / "data")
    found = run(small(name), tmp_path, methods=("default",))
    (result,) = found.sets
    assert result.trained == 2
    assert [len(row.values) for row in result.rows] == [2, 2]
    configs = [row.config for row in Store.open(result.store).runs()]
    if name == "table1":
        assert [(c["task"], c["known"], c["split"]) for c in configs] == [
            ("pll", 0.1, "train"),
            ("pll", 0.2, "train"),
        ]
    else:
        assert [(c["task"], c["shots"]) for c in configs] == [("fsl", 1), ("fsl", 2)]


def test_a_published_set_is_evaluated_by_its_protocol(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    voc2007(tmp_path / "data")
    found = run(
        small("table3", 1), tmp_path, sets=(), methods=("default",), texts=TableTexts(count=200)
    )
    (result,) = found.sets
    assert (result.published_as, result.split, result.images) == ("voc2007", "test", 4)
    assert "has 4,952 images, here are 4" in " ".join(result.deviations)
    assert found.missing[0].startswith("coco2014: not below")
    assert "paper: TaI-Adapter*" in found.text()
    frame = found.frame().filter(source="paper", method="TaI-Adapter*")
    assert frame["mAP"].to_list() == [90.0]
    assert frame["seed"].null_count() == frame["step"].null_count() == 1
    assert set(splits_of(result).values()) == {"trainval", "test"}


def test_figures_of_other_papers_stand_beside_with_what_is_to_be_known_of_them(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    voc2007(tmp_path / "data", trainval=False)
    options: dict[str, Any] = {"texts": TableTexts(count=200), "methods": ("default-texts",)}
    found = run(small("table2"), tmp_path, sets=["voc2007"], **options)
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    (voc,) = value["sets"]
    assert voc["paper"] == {"CLIP": [77.3], "TaI-DPT": [88.3], "TaI-Adapter": [89.0]}
    assert (voc["elsewhere"]["CoMC (RN50)"], voc["elsewhere"]["PIAA (ViT-B/16)"]) == (
        [None],
        [92.5],
    )
    assert value["remarks"] == list(TABLES["table2"].remarks)
    lines = [line.split() for line in found.text().splitlines()]
    assert ["elsewhere:", "CoMC", "(RN50)", "-"] in lines
    assert ["elsewhere:", "TagCLIP", "(ViT-B/16)", "92.8"] in lines
    assert ["of", "the", "published", "figures:"] in lines
    assert "taistore itself picks nothing on a test split" in found.text()
    frame = found.frame().filter(source="elsewhere")
    assert frame["method"].to_list() == [name for name in voc["elsewhere"] if "CoMC" not in name]
    own_form(tmp_path / "data")
    alone = run(small("table2"), tmp_path, methods=("default-texts",)).text()
    assert "published figures" not in alone


def test_the_mean_over_the_columns_stands_where_the_paper_has_it(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    found = run(small("table1"), tmp_path, methods=("default",), seeds=(0, 1))
    default = found.sets[0].rows[1]
    averages = np.array(default.values).mean(axis=0)
    row = found.to_json()["sets"][0]["here"][1]
    assert row["average"] == round(float(averages.mean()), 2)
    assert row["average_deviation"] == round(float(averages.std(ddof=1)), 2)
    (headings,) = (line.split() for line in found.text().splitlines() if "Avg." in line)
    assert headings == ["10%", "20%", "Avg."]
    shown = f"{averages.mean():.1f} ±{averages.std(ddof=1):.1f}"
    assert any(
        line.endswith(shown) for line in found.text().splitlines() if "here:  taistore" in line
    )
    few = run(small("table3"), tmp_path, methods=("default",))
    assert "average" not in few.to_json()["sets"][0]["here"][1]
    assert "Avg." not in few.text()


def test_nothing_to_run_says_all_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()

    def load(spec: str, *, device: str, precision: str) -> Encoder:
        raise EncoderError("no weights: give a file")

    monkeypatch.setattr(module, "load_encoder", load)
    notes: list[str] = []
    with pytest.raises(ScoringError) as caught:
        run(TABLES["table1"], tmp_path, sets=(), encoder_spec=None, note=notes.append)
    assert [line.split(":")[1].strip() for line in notes] == [
        "voc2007",
        "coco2014",
        "nuswide",
        "encoder open_clip",
    ]
    assert "open_clip:RN50/openai@448: no weights: give a file" in str(caught.value)
    with pytest.raises(ScoringError, match="no such folder"):
        reproduce(TABLES["table2"], tmp_path / "nowhere", work=tmp_path)


def test_a_stopped_training_goes_on(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    notes: list[str] = []

    def stop(line: str) -> None:
        notes.append(line)
        if "default," in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small("table2"), tmp_path, note=stop)
    found = run(small("table2"), tmp_path)
    assert found.sets[0].trained == 1
    store = Store.open(found.sets[0].store)
    row = store.runs()[-1]
    store.record_run(dataclasses.replace(row, status="running"))
    again = run(small("table2"), tmp_path, note=notes.append)
    assert again.sets[0].trained == 1
    assert again.sets[0].rows == found.sets[0].rows


def many(data: Path, count: int) -> Path:
    """A set of so many pictures, all different, as ``data/colours``."""
    folder = own_form(data)
    rows = []
    for number in range(count):
        shown = COLOUR_NAMES[number % 4]
        colour_image(shown, size=(20 + number % 20, 20 + number // 20)).save(
            folder / "images" / f"{number}.png"
        )
        rows.append(json.dumps({"image": f"images/{number}.png", "labels": [shown]}))
    (folder / "labels.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def test_default_is_what_train_does_and_default_texts_sees_no_photo(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    many(tmp_path / "data", 200)
    found = run(small("table2"), tmp_path, methods=("default", "default-texts"))
    (result,) = found.sets
    runs = {row.run_id: row.config for row in Store.open(result.store).runs()}
    default, texts_alone = (dict(runs[run_id]) for run_id in result.runs)
    # As Project.train makes it of a task alone.
    own = TrainConfig.of(task="zsl", device="cpu")
    store = Store.open(result.store)
    assert default == settle(store, encoder.info.encoder_id, own).to_json()
    assert default["shift"] == "neighbours"
    assert texts_alone["shift"] == "none"
    (line,) = (line for line in result.deviations if "transductive" in line)
    assert line.startswith("default is transductive: its texts were moved to where the photos")
    assert "here:  the same, from texts alone" in found.text()


@pytest.mark.parametrize("name", ["table1", "table3"])
def test_only_table2_has_a_row_from_texts_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ScoringError, match=f"{name} has no method=default-texts: it has paper, d"):
        run(small(name), tmp_path, methods=("default-texts",))


def test_settings_take_the_place_of_the_papers_in_its_method_alone(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    settings = {"radius": "25", "image_radius": "1", "hidden": 16, "dropout": 0.1, "epochs": 2}
    found = run(small("table3", 1), tmp_path, settings=settings)
    (result,) = found.sets
    runs = {row.run_id: row.config for row in Store.open(result.store).runs()}
    paper, default = (runs[run_id] for run_id in result.runs)
    assert {name: paper[name] for name in settings} == settings
    assert default["epochs"] == TrainConfig(task="fsl", shots=1).epochs
    assert found.to_json()["settings"] == settings
    text = found.text()
    assert "neither the network's width nor its dropout: 16 (its Table 4 implies 2,048) and" in text
    assert "paper's method are others here: epochs 2, image_radius 1, radius 25" in text
    again = run(small("table3", 1), tmp_path, settings=settings)
    assert again.sets[0].trained == 0
    assert run(small("table3", 1), tmp_path, settings={"epochs": 3}).sets[0].trained == 1


def test_wrong_settings_are_refused_before_anything_is_encoded(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    own_form(tmp_path / "data")
    with pytest.raises(ScoringError, match="radius= changes method=paper, which is not run"):
        run(small("table2"), tmp_path, methods=("default",), settings={"radius": "2x"})
    with pytest.raises(TrainingError, match="dropout 1 is not allowed"):
        run(small("table2"), tmp_path, settings={"dropout": 1})
    assert encoder.encoded == 0
    assert not (tmp_path / "work").exists()


def test_rejects_and_images_that_are_there_twice_are_told(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    folder = own_form(tmp_path / "data")
    shutil.copy(folder / "images" / "3.png", folder / "images" / "copy.png")
    (folder / "images" / "5.png").write_bytes(b"no picture")
    row = {"image": "images/copy.png", "labels": ["red"]}
    with (folder / "labels.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    notes: list[str] = []
    for _ in range(2):
        found = run(small("table2"), tmp_path, methods=("default",), note=notes.append)
        (value,) = found.to_json()["sets"]
        assert (value["rejected_images"], value["repeated_images"]) == (1, 1)
        assert (value["texts"], value["rejected_texts"]) == (40, 0)
    line = "40 texts, 0 rejected; images: 1 rejected, 1 that the set has twice"
    assert notes.count(f"colours: {line}") == 2
    assert line in found.text()
