"""A run keeps its label prompts: texts that come later do not move its figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.file_names import CARD, PROMPTS
from taistore.adapter.train import train
from taistore.encoders.imported.vector_reader import imported_info
from taistore.errors import ScoringError
from taistore.evaluation.evaluate import evaluate
from taistore.labels import Label, LabelSet
from taistore.scoring.ensembles.make_ensemble import make_ensemble
from taistore.scoring.loaded_run import open_run
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors
from taistore.texts.label_prompts import cached_prompt_vectors
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_run, new_store

NAMES = ("cat", "dog", "horse", "sheep")
DIM = 8
INFO = imported_info("own", dim=DIM)


def add_texts(store: Store, folder: Path, *, seed: int, rounds: int) -> None:
    """``rounds`` captions of each label, whose vectors become its prompt."""
    random = np.random.default_rng(seed)
    texts = [f"{name} {seed} {n}" for n in range(rounds) for name in NAMES]
    vectors = 5 * np.tile(np.eye(len(NAMES), DIM), (rounds, 1))
    vectors += random.standard_normal(vectors.shape)
    folder.mkdir()
    np.save(folder / "x.npy", vectors.astype(np.float32))
    (folder / "x.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    ingest_text_vectors(store, "own", folder / "x.npy")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Imported text vectors, and images of which half show two labels."""
    labels = LabelSet(Label(name, name) for name in NAMES)
    store = Store.create(tmp_path / "store", labels, default_encoder=INFO.spec)
    add_texts(store, tmp_path / "first", seed=0, rounds=4)
    random = np.random.default_rng(1)
    ids = [f"{n:032x}" for n in range(40)]
    shown = [sorted({n % 4, int(random.integers(4))}) for n in range(40)]
    rows = {"uri": "a", "width": 1, "height": 1, "negatives": [], "complete": True}
    rows |= {"combination_id": None, "split": "test"}
    store.append(
        "images", [{**rows, "image_id": i, "positives": p} for i, p in zip(ids, shown, strict=True)]
    )
    vectors = np.array([np.eye(4, DIM)[s].sum(0) for s in shown])
    vectors += 0.7 * random.standard_normal(vectors.shape)
    store.append(
        "image_vectors",
        {"image_id": ids, "vector": vector_column(vectors)},
        encoder_id=INFO.encoder_id,
    )
    return store


def figures(store: Store, run_id: str) -> dict[str, Any]:
    """What evaluating a run prints."""
    return evaluate(store, run_id).to_json()


def trained(store: Store, *, seed: int = 0) -> str:
    """A run of a few steps with the store's prompts."""
    prompts_ND = cached_prompt_vectors(store, INFO)
    assert prompts_ND is not None
    config = TrainConfig(epochs=2, seed=seed, device="cpu")
    return train(store, INFO.encoder_id, config, prompts_ND=prompts_ND).run_id


def test_later_captions_move_no_figure_of_a_run(store: Store, tmp_path: Path) -> None:
    run_id = trained(store)
    before = figures(store, run_id)
    ensemble = make_ensemble(store, [run_id, trained(store, seed=1)]).run_id
    whole = figures(store, ensemble)
    add_texts(store, tmp_path / "second", seed=9, rounds=50)
    assert figures(store, run_id) == before
    assert figures(store, ensemble) == whole
    assert figures(store, trained(store))["ladder"]["zero_shot"] != before["ladder"]["zero_shot"]


def test_zero_shot_of_an_ensemble_is_its_first_members(store: Store, tmp_path: Path) -> None:
    old = trained(store)
    add_texts(store, tmp_path / "second", seed=9, rounds=50)
    new = trained(store)
    for members in ((old, new), (new, old)):
        found = figures(store, make_ensemble(store, members).run_id)["ladder"]
        assert found["zero_shot"] == figures(store, members[0])["ladder"]["zero_shot"]


def without_prompts(store: Store, run_id: str) -> None:
    """Make it a run from before prompts were kept."""
    folder = Path(store.uri) / "runs" / run_id
    (folder / PROMPTS).unlink()
    card = json.loads((folder / CARD).read_text())
    del card["prompts_digest"]
    (folder / CARD).write_text(json.dumps(card))


def test_a_run_without_prompts_goes_by_the_stores(store: Store) -> None:
    run_id = trained(store)
    expected = figures(store, run_id)
    without_prompts(store, run_id)
    assert figures(store, run_id) == expected


def test_a_store_that_has_none_either_says_so(tmp_path: Path) -> None:

    store = new_store(tmp_path / "store", ColourEncoder())
    without_prompts(store, add_run(store, ColourEncoder()))
    with pytest.raises(ScoringError, match="from before runs kept their label prompts"):
        open_run(store, "run-1")
