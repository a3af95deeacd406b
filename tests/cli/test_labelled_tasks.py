"""``train --task fsl`` and ``pll`` through the command line: what they print, what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import UNLABELLED_FROM
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.train import train
from taistore.store.store import Store
from taistore.texts.label_prompts import (
    PROMPT_KIND,
    all_label_prompts,
    cached_prompt_vectors,
    prompts_digest,
)
from taistore_cli.main import main
from tests.adapter.stores import (
    ENCODER_ID,
    add_images,
    add_synthetic,
    prompt_vectors,
    text_store,
)

FAST = ("--epochs", "1", "--batch", "16")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Texts, forty labelled images to train on and twenty to test on; prompts are there."""
    store = text_store(tmp_path / "store", rows=60)
    add_images(store, count=40)
    add_images(store, count=20, split="test", first=500)
    keep_prompts(store)
    return store


def keep_prompts(store: Store) -> None:
    """The labels' vectors, so that no encoder needs to be loaded."""
    digests = [prompts_digest(prompts) for prompts in all_label_prompts(store.labels)]
    rows = {
        "kind": [PROMPT_KIND] * len(digests),
        "id": list(range(len(digests))),
        "count": [1] * len(digests),
        "source": digests,
        "vector": list(prompt_vectors(len(digests))),
    }
    store.append("centroids", rows, encoder_id=ENCODER_ID)


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", store.uri])


def trained(store: Store, *arguments: str) -> dict[str, Any]:
    result = run(store, "train", *FAST, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def refused(store: Store, *arguments: str) -> str:
    result = run(store, "train", *FAST, *arguments)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_few_shots(store: Store) -> None:
    found = trained(store, "--task", "fsl", "--shots", "2", "--shot-seed", "3")
    assert found["run_id"].startswith("fsl-")
    assert (found["config"]["shots"], found["config"]["shot_seed"]) == (2, 3)
    assert 0 < found["known"]["images"] <= 12
    ladder = json.loads(run(store, "evaluate", found["run_id"], "--json").stdout)["ladder"]
    assert ladder["adapter"]["mAP"] > 50


def test_partial_labels(store: Store) -> None:
    found = trained(store, "--task", "pll", "--known", "0.3", "--mask-seed", "7")
    known = found["known"]
    assert known["images"] == 40
    assert 0.2 < known["known_cells"] / (40 * 6) < 0.4
    every = trained(store, "--task", "pll")
    assert every["known"]["known_cells"] == 40 * 6


def test_people_are_told_what_it_learnt_from(store: Store) -> None:
    result = run(store, "train", *FAST, "--task", "pll", "--known", "0.5")
    assert "learnt from" in result.stdout
    assert "texts shifted by" in result.stdout


def test_the_papers_form_can_be_named(store: Store) -> None:
    for named in (("--network", "paper"), ("--paper",)):
        config = trained(store, "--task", "pll", *named, "--hidden", "8")["config"]
        assert (config["network"], config["shift"]) == ("paper", "plain")
        assert config["learn_from"] == "texts"
    config = trained(store, "--task", "pll", "--shift", "plain", "--learn-from", "texts")["config"]
    assert (config["network"], config["shift"]) == ("residual", "plain")


def test_partial_bce_as_a_peer_of_the_adapter(store: Store) -> None:
    peer = ("--task", "pll", "--known", "0.5", "--learn-from", "images", "--loss", "partial-bce")
    found = trained(store, *peer, "--network", "residual")
    assert (found["config"]["loss"], found["config"]["learn_from"]) == ("partial-bce", "images")
    ladder = json.loads(run(store, "evaluate", found["run_id"], "--json").stdout)["ladder"]
    assert ladder["adapter"]["mAP"] > 50
    assert trained(store, *peer, "--network", "small", "--hidden", "8")["run_id"]
    assert "is for task fsl or pll" in refused(store, "--task", "zsl", "--loss", "partial-bce")
    assert "adapter with loss 'ranking'" in refused(store, "--task", "pll", "--loss", "ranking")
    for method in ("coop", "tai-dpt"):
        asked = ("--method", method, "--loss", "partial-bce")
        assert f"method {method} with loss 'partial-bce'" in refused(store, *asked)


def test_learning_from_synthetic_images(store: Store) -> None:
    asked = ("--task", "zsl", "--learn-from", "texts+synthetic", "--shift", "synthetic")
    told = refused(store, *asked)
    assert "holds no synthetic images for encoder 'vectors:random'" in told
    assert "taistore generate-images" in told
    add_synthetic(store, texts=50)
    found = trained(store, *asked, "--image-batch", "8")
    assert found["known"] == {"synthetic_images": 50, "labels_without_synthetic_image": 0}
    assert found["shift"]["labels_with_images"] == 6
    assert (found["config"]["learn_from"], found["config"]["image_batch"]) == (asked[3], 8)
    assert run(store, "train", *FAST, *asked).stdout.count("went by 50 synthetic images\n") == 1
    ladder = json.loads(run(store, "evaluate", found["run_id"], "--json").stdout)
    assert ladder["images"] == 20, "the photos of the split and no others"
    assert ladder["ladder"]["adapter"]["mAP"] > 50
    assert "synthetic images are for task zsl, not pll" in refused(
        store, "--task", "pll", *asked[2:]
    )
    for method in ("coop", "tai-dpt"):
        assert refused(store, "--method", method, "--learn-from", "synthetic")


def test_bad_requests_are_one_line(store: Store) -> None:
    assert "needs shots" in refused(store, "--task", "fsl")
    assert "60 shots, but no label has more than" in refused(
        store, "--task", "fsl", "--shots", "60"
    )
    assert "is for task fsl" in refused(store, "--task", "pll", "--shots", "2")
    assert "is for task pll" in refused(store, "--task", "zsl", "--known", "0.5")
    assert "no images (splits: 'test', 'train')" in refused(
        store, "--task", "pll", "--split", "val"
    )
    assert "image_radius 'big'" in refused(store, "--task", "pll", "--image-radius", "big")


def test_images_of_which_nothing_is_known(store: Store) -> None:
    rows = [row for batch in store.scan("images") for row in batch.to_pylist()]
    blank = {"positives": [], "negatives": [], "complete": False, "combination_id": None}
    store.upsert("images", [{**row, **blank} for row in rows])
    assert "no image is known to show any label" in refused(store, "--task", "pll")


@pytest.mark.parametrize(
    "settings", [{"task": "zsl"}, {"task": "pll", "known": 0.5}, {"network": "paper"}]
)
def test_the_command_line_and_python_train_the_same(
    store: Store, settings: dict[str, Any], tmp_path: Path
) -> None:
    add_images(store, count=UNLABELLED_FROM, first=1000)
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    found = trained(store, *arguments)
    encoder = store.encoder(ENCODER_ID)
    prompts_ND = cached_prompt_vectors(store, encoder)
    assert prompts_ND is not None
    config = TrainConfig.of(**settings, epochs=1, batch=16)
    result = train(store, ENCODER_ID, config, prompts_ND=prompts_ND)
    assert found["config"] == result.config.to_json()
    shifts = {"zsl": "neighbours", "pll": "neighbours"}
    assert result.config.shift == shifts.get(settings.get("task", ""), "none")
    file = tmp_path / "card.json"
    file.write_text((result.checkpoint / "card.json").read_text())
    again = trained(store, "--config", str(file))
    digests = {
        load_adapter(checkpoint).card.weights_digest
        for checkpoint in (found["checkpoint"], result.checkpoint, again["checkpoint"])
    }
    assert len(digests) == 1


def test_settings_come_from_a_file_and_options_take_their_place(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('task = "fsl"\nshots = 2\nseed = 5\nneighbour_rounds = 2\nepochs = 7\n')
    found = trained(store, "--config", str(file), "--seed", "6")["config"]
    wanted = {"task": "fsl", "shots": 2, "seed": 6, "neighbour_rounds": 2, "epochs": 1}
    assert {name: found[name] for name in wanted} == wanted
    file.write_text("colour = 1\n")
    assert "settings.toml: the configuration holds the unknown field 'colour'" in refused(
        store, "--config", str(file)
    )
    assert "cannot be read" in refused(store, "--config", str(tmp_path / "none.toml"))


def test_help_lists_what_few_need_apart() -> None:
    text = CliRunner().invoke(main, ["train", "--help"]).stdout
    people, _, experiments = text.partition("For experiments:")
    assert "--shots" in people
    assert "--mask-seed" not in people.partition("Options:")[2]
    assert "--mask-seed" in experiments
    assert "--text-weights" in experiments
