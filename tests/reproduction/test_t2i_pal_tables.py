"""The tables of T2I-PAL: synthetic images of a manifest, learners trained on them, averages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from taistore.errors import ScoringError, SyntheticError
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.reproduction.synthetic_tables.t2i_pal_tables import T2I_TABLES
from taistore.reproduction.synthetic_tables.table_images import TableImages
from taistore.reproduction.table_report import Reproduction
from taistore.reproduction.table_texts import TableTexts
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore_cli.main import main
from tests.encoders import small_models
from tests.fakes import colour_image
from tests.reproduction.small_sets import COLOUR_NAMES, own_form
from tests.reproduction.test_prompt_tables import matrix, scaled
from tests.reproduction.test_reproduce import run, small


def prepared(folder: Path) -> dict[str, Any]:
    """A set, a model whose text tower takes embeddings, captions and two pictures of each."""
    weights = folder / "weights"
    if not weights.exists():
        weights.mkdir()
        small_models.save("small-resnet", weights)
        own_form(folder / "data")
    (file,) = weights.iterdir()
    captions, manifest = folder / "captions.jsonl", folder / "made.jsonl"
    texts, made = [], []
    for number, colour in enumerate(COLOUR_NAMES):
        text = f"a {colour} wall"
        texts.append({"text": text, "labels": [colour]})
        for copy in range(2):
            path = folder / f"{colour}-{copy}.png"
            colour_image(colour, "white", size=(30 + copy, 31 + number)).save(path)
            made.append({"text": text, "image": path.name})
    captions.write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    manifest.write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    return {
        "encoder_spec": f"open_clip:small-resnet/{file}",
        "texts": TableTexts(captions=captions),
        "images": TableImages(writer="folder", options={"images": manifest}),
        "regions": 2,
    }


def table(folder: Path, number: int, methods: tuple[str, ...] = ()) -> Reproduction:
    return run(small(f"t2i-pal table {number}", 1), folder, methods=methods, **prepared(folder))


def test_zero_shot_beside_the_papers_figures(tmp_path: Path) -> None:
    found = table(tmp_path, 1)
    (result,) = found.sets
    methods = ["zero_shot", "t2i-pal", "default-synthetic", "default-texts"]
    assert [row.method for row in result.rows] == methods
    store = Store.open(result.store)
    (info,) = store.encoders()
    assert store.count("synthetic_vectors", info.encoder_id) == 8
    assert store.count("synthetic_regions", info.encoder_id) == 8
    learnt = [store.run(one).config["learn_from"] for one in result.runs]
    assert learnt == ["texts+synthetic", "texts+synthetic", "texts"]
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["image_writer"] == "folder"
    assert told["image_writer_options"] == {"images": "made.jsonl"}
    assert "synthetic images are the images of made.jsonl here" in found.text()
    again = table(tmp_path, 1)
    assert again.sets[0].trained == 0
    assert again.sets[0].rows == result.rows
    # Other images belong into another store.
    manifest = tmp_path / "made.jsonl"
    options = prepared(tmp_path)
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]), encoding="utf-8")
    other = run(small("t2i-pal table 1", 1), tmp_path, methods=("default-texts",), **options)
    assert other.sets[0].store != result.store


@pytest.mark.parametrize(("number", "other", "share"), [(2, "dualcoop", 0.9), (4, "coop", 0.6)])
def test_averaged_with_the_system_that_was_trained_here(
    tmp_path: Path, number: int, other: str, share: float
) -> None:
    found = table(tmp_path, number)
    (result,) = found.sets
    rows = {row.method: row for row in result.rows}
    assert list(rows) == ["zero_shot", "t2i-pal", other, "t2i-pal-integrated"]
    store = Store.open(result.store)
    ids = dict(zip(("t2i-pal", other), result.runs, strict=True))
    ours_IN, theirs_IN = (
        scaled(matrix(store, ids[name], "prompts", tmp_path / f"{name}.npy")) for name in ids
    )
    order = (tmp_path / f"{other}.ids.txt").read_text().split()
    known = PartialLabels.read(store, split="test")
    truth_IN = known.truth(known.find(order))
    averaged_IN = (1 - share) * ours_IN + share * theirs_IN
    expected = 100 * mean_average_precision(average_precision(averaged_IN, truth_IN))
    ((value,),) = rows["t2i-pal-integrated"].values
    assert value == pytest.approx(expected, abs=1e-4)
    beside = {row["method"]: row["beside"] for row in found.to_json()["sets"][0]["here"]}
    assert beside["t2i-pal-integrated"] == "T2I-PAL*"
    assert beside[other] in T2I_TABLES[f"t2i-pal table {number}"].published["voc2007"]


def test_the_figures_are_those_of_its_paper() -> None:
    zero, partial, few = (one.published for one in T2I_TABLES.values())
    assert zero["coco2014"] == {"CLIP": (47.3,), "TaI-DPT": (65.1,), "T2I-PAL": (71.4,)}
    assert list(partial["voc2007"]) == ["SARB", "DualCoOp", "TaI-DPT*", "T2I-PAL*"]
    assert list(partial["nuswide"]) == ["DualCoOp", "TaI-DPT*", "T2I-PAL*"]
    assert partial["voc2007"]["DualCoOp"][:3] == (90.3, 92.2, 92.8)
    assert partial["nuswide"]["DualCoOp"][:3] == (54.0, 56.2, 56.9)
    assert partial["coco2014"]["T2I-PAL*"][-3:] == (85.6, 85.8, 85.9)
    assert few["voc2007"]["TaI-DPT*"] == (88.6, 89.2, 89.1, 89.5, 90.1)
    assert few["coco2014"] == {
        "CoOp": (52.6, 57.3, 58.1, 59.2, 59.8),
        "TaI-DPT*": (65.8, 66.2, 67.6, 68.1, 68.9),
        "T2I-PAL*": (71.6, 71.8, 73.1, 73.5, 74.1),
    }
    means = {
        name: np.round(np.mean(systems["T2I-PAL*"]), 1)
        for name, systems in T2I_TABLES["t2i-pal table 2"].published.items()
    }
    # The paper's own column of averages: 95.0, 84.7 and 58.5.
    assert means == pytest.approx({"voc2007": 95.0, "coco2014": 84.7, "nuswide": 58.5}, abs=0.11)


def test_refusals(tmp_path: Path) -> None:
    options = prepared(tmp_path)
    wanted = small("t2i-pal table 1", 1)
    with pytest.raises(ScoringError, match="t2i-pal table 1 learns from synthetic images: give"):
        run(wanted, tmp_path, **{**options, "images": None})
    with pytest.raises(ScoringError, match="method=t2i-pal learns from regions of images"):
        run(wanted, tmp_path, **{**options, "regions": 0})
    with pytest.raises(ScoringError, match="table2 learns from no synthetic image"):
        run(small("table2", 1), tmp_path, **options)
    with pytest.raises(SyntheticError, match="writer=openai needs model="):
        TableImages(writer="openai", options={"base_url": "http://127.0.0.1:9/v1"})
    gone = TableImages(writer="folder", options={"images": tmp_path / "gone.jsonl"})
    with pytest.raises(SyntheticError, match=r"gone\.jsonl: the manifest cannot be read"):
        gone.identity()


def test_on_the_command_line(tmp_path: Path) -> None:
    options = prepared(tmp_path)
    command = ["reproduce", "t2i-pal", "--part", "1", "--data", str(tmp_path / "data"), "--json"]
    command += ["--work", str(tmp_path / "work"), "--sets", "colours", "--regions", "2"]
    command += ["--encoder", options["encoder_spec"], "--device", "cpu"]
    command += ["--captions", str(tmp_path / "captions.jsonl"), "--method", "default-synthetic"]
    done = CliRunner().invoke(main, [*command, "--images", str(tmp_path / "made.jsonl")])
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    (first,) = value["tables"]
    assert (value["table"], first["table"]) == ("t2i-pal", "t2i-pal table 1")
    assert [row["method"] for row in first["sets"][0]["here"]] == ["zero_shot", "default-synthetic"]
    for more, said in (
        (["--images", "m.jsonl", "--per-text", "2"], "--images are made already"),
        ([], "t2i-pal table 1 learns from synthetic images: give --images"),
    ):
        refused = CliRunner().invoke(main, [*command, *more])
        assert refused.exit_code != 0
        assert said in refused.output
    command[1] = "table2"
    refused = CliRunner().invoke(main, command)
    assert "--part is for t2i-pal and changes nothing here" in refused.output
