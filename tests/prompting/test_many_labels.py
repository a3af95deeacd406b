"""Scoring by a finished learner at 7,186 labels, as OpenImages has: what zero-shot costs."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from taistore.adapter.run_files.checkpoint import save_prompts
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore.prompting.learner_files import LearnerCard, save_learner
from taistore.prompting.prompt_config import Method, PromptConfig
from taistore.prompting.prompt_scores import prototype_roles, roles
from taistore.run import Run
from taistore.scoring.ladders.ladder import Step
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from tests.fakes import ColourEncoder

LABELS = LabelSet(Label(f"l{n}", f"thing {n}") for n in range(7_186))
INFO = ColourEncoder().info
IMAGES, GRID = 384, 3
AT_MOST, CONSTANT = 1.5, 0.05
"""Times zero-shot's CPU seconds, and seconds."""


def store_of_images(path: Path) -> Store:
    """Vectors of images and of their regions alone: nothing that was encoded."""
    store = Store.create(path, LABELS, default_encoder=INFO.spec)
    store.register_encoder(INFO)
    ids = [f"{number:032x}" for number in range(IMAGES)]
    random = np.random.default_rng(3)
    vectors = random.normal(size=(IMAGES, INFO.dim)).tolist()
    cells = random.normal(size=(IMAGES, GRID**2 * INFO.dim)).astype(np.float16)
    encoder_id = INFO.encoder_id
    store.append("image_vectors", {"image_id": ids, "vector": vectors}, encoder_id=encoder_id)
    regions = {"image_id": ids, "grid": [GRID] * IMAGES, "vectors": list(cells)}
    store.append("region_vectors", regions, encoder_id=encoder_id)
    made = store.labels.combination_id([0])
    store.append("combinations", {"combination_id": [made], "label_ids": [[0]]})
    columns: dict[str, Any] = {
        "image_id": ids,
        "uri": [f"{one}.png" for one in ids],
        "width": [8] * IMAGES,
        "height": [8] * IMAGES,
        "positives": [[0]] * IMAGES,
        "negatives": [[]] * IMAGES,
        "complete": [True] * IMAGES,
        "combination_id": [made] * IMAGES,
        "split": ["test"] * IMAGES,
    }
    store.append("images", columns)
    return store


def finished(store: Store, method: Method) -> str:
    """A finished learner, as a training leaves it; returns its run's id."""
    config = PromptConfig.of(method, context=1)
    run_id, created = f"{method}-many", "2024-01-01T00:00:00+00:00"
    folder = Path(store.uri) / "runs" / run_id
    folder.mkdir(parents=True)

    def unit(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return functional.normalize(torch.randn(len(LABELS), INFO.dim, generator=generator), dim=1)

    save_prompts(folder, unit(9).numpy())
    card = LearnerCard(
        run_id=run_id,
        config=config,
        encoder=INFO,
        label_keys=tuple(LABELS.keys),
        label_names=tuple(label.name for label in LABELS),
        temperature=config.temperature,
        spatial=config.spatial_test,
        table_versions={},
        library_versions={},
        known={},
        metrics={},
        created=created,
    )
    vectors = {role: unit(n) for n, role in enumerate(roles(method, config.variant))}
    prototypes = {role: unit(5 + n) for n, role in enumerate(prototype_roles(config.prototypes))}
    save_learner(folder, card, vectors=vectors, contexts={}, prototypes=prototypes)
    row: dict[str, Any] = {
        "run_id": run_id,
        "task": config.task,
        "encoder_id": INFO.encoder_id,
        "status": "finished",
        "seed": 0,
        "config": config.to_json(),
        "table_versions": {},
        "metrics": {},
        "checkpoint": f"runs/{run_id}",
        "created": np.datetime64(created[:19]).astype("datetime64[us]").astype(object),
    }
    store.record_run(RunRow(**row))
    return run_id


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Images of 7,186 labels."""
    return Project(store_of_images(tmp_path_factory.mktemp("many") / "store"), device="cpu")


def seconds(run: Run, out: Path, step: Step) -> float:
    """CPU seconds of scoring all images by a step, in this process with all its threads.

    By a threshold, so that all labels are scored: of zero-shot ``top_k`` looks at a few alone.
    """
    began = time.process_time()
    assert run.score(out=out, step=step, threshold=0.9999, overwrite=True).images == IMAGES
    return time.process_time() - began


@pytest.mark.parametrize("method", ["tai-dpt", "dualcoop", "t2i-pal"])
def test_a_learner_scores_at_the_cost_of_zero_shot(
    project: Project, tmp_path: Path, method: Method
) -> None:
    run = project.run(finished(project.store, method))
    steps: tuple[Step, Step] = ("regions", "prompts")
    # The first reads what is cached later, and the least of several is what others do not disturb.
    taken = [{step: seconds(run, tmp_path / "tags.csv", step) for step in steps} for _ in range(3)]
    zero_shot, learner = (min(each[step] for each in taken[1:]) for step in steps)
    assert learner <= AT_MOST * zero_shot + CONSTANT, taken
