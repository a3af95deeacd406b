"""How much of ``score`` over a store is the forward pass? Ratios of process CPU time.

    python benchmarks/scoring.py --images 20000 --labels 7186

Builds a store of random vectors with an untrained residual adapter in a temporary folder, and then,
several times in turn, so that a busy machine disturbs all alike: the forward pass alone (adapter on
vectors in memory), the forward with the whole ladder up to the ensemble, with the choice of tags,
and the whole job from store to file. Shapes: I images, D embedding dimension, N labels.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape, Residual, build_network
from taistore.adapter.run_files.checkpoint import (
    AdapterCard,
    load_adapter,
    save_adapter,
    save_prompts,
)
from taistore.encoders.protocol import EncoderInfo
from taistore.labels import Label, LabelSet
from taistore.scoring.ladders.ladder import Ladder
from taistore.scoring.score import score
from taistore.scoring.selection import Choice, choose, tag_table
from taistore.store.arrow import vector_column
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

BATCH = 1024


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=7_186)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    prompts_ND = random.standard_normal((options.labels, options.dim)).astype(np.float32)
    prompts_ND /= np.linalg.norm(prompts_ND, axis=1, keepdims=True)
    vectors_ID = (10 * random.standard_normal((options.images, options.dim))).astype(np.float16)
    vectors_ID /= np.float16(options.dim**0.5)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), prompts_ND, vectors_ID)
        adapter = load_adapter(Path(folder) / "store" / "runs" / "run")
        ladder = Ladder(prompts_ND, adapter.logits)
        choice = Choice(step="ensemble", top_k=options.top_k)
        ids = [f"{n:032x}" for n in range(BATCH)]

        def forward() -> None:
            for batch in batches(vectors_ID):
                adapter.logits(torch.from_numpy(batch).float())

        def climb() -> None:
            for batch in batches(vectors_ID):
                ladder.scores(batch, steps=["ensemble"])

        def select() -> None:
            for batch in batches(vectors_ID):
                choose(ladder.scores(batch, steps=["ensemble"])["ensemble"], top_k=options.top_k)

        def tables() -> None:
            for batch in batches(vectors_ID):
                scores_BN = ladder.scores(batch, steps=["ensemble"])["ensemble"]
                names = ids[: len(batch)]
                tag_table(names, names, scores_BN, labels=store.labels, choice=choice)

        def job() -> None:
            out = Path(folder) / "tags.parquet"
            score(store, "run", None, out, top_k=options.top_k, overwrite=True)

        found = measure(
            {"forward": forward, "ladder": climb, "choice": select, "table": tables, "job": job},
            options.rounds,
        )
    base = found["forward"]
    print(
        json.dumps(
            {
                "images": options.images,
                "labels": options.labels,
                "dim": options.dim,
                "top_k": options.top_k,
                "threads": options.threads,
                "cpu_seconds": {name: round(value, 2) for name, value in found.items()},
                "rate_against_forward": {
                    name: round(base / value, 2) for name, value in found.items()
                },
                "machine": platform.processor() or platform.machine(),
                "torch": torch.__version__,
                "when": f"{datetime.now(UTC):%Y-%m-%d}",
            },
            indent=2,
        )
    )


def batches(vectors_ID: NDArray[np.float16]) -> "list[NDArray[np.float16]]":
    """Views of ``BATCH`` rows."""
    return [vectors_ID[start : start + BATCH] for start in range(0, len(vectors_ID), BATCH)]


def measure(pieces: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each piece, measured in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in pieces}
    for _ in range(rounds):
        for name, piece in pieces.items():
            started = time.process_time()
            piece()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def make_store(
    folder: Path, prompts_ND: NDArray[np.float32], vectors_ID: NDArray[np.float16]
) -> Store:
    """A store with images, their vectors and a run whose adapter is untrained."""
    labels, dim = prompts_ND.shape
    info = EncoderInfo(
        encoder_id="bench",
        spec="bench",
        library="bench",
        model="bench",
        weights="none",
        weights_digest="0",
        resolution=224,
        resize="squash",
        dim=dim,
        context_length=77,
    )
    label_set = LabelSet(Label(f"/m/{n}", f"label {n}") for n in range(labels))
    store = Store.create(folder / "store", label_set, default_encoder="bench")
    store.register_encoder(info)
    for start in range(0, len(vectors_ID), 8192):
        part = vectors_ID[start : start + 8192]
        ids = [f"{n:032x}" for n in range(start, start + len(part))]
        store.append(
            "images",
            {
                "image_id": ids,
                "uri": [f"/photos/{i}.jpg" for i in ids],
                "width": [640] * len(ids),
                "height": [480] * len(ids),
                "positives": [[]] * len(ids),
                "negatives": [[]] * len(ids),
                "complete": [False] * len(ids),
                "combination_id": [None] * len(ids),
                "split": ["test"] * len(ids),
            },
        )
        store.append(
            "image_vectors",
            {"image_id": ids, "vector": vector_column(part)},
            encoder_id=info.encoder_id,
        )
    shape = NetworkShape(network="residual", dim=dim, labels=labels, hidden=384, dropout=0.0)
    now = datetime.now(UTC)
    card = AdapterCard(
        run_id="run",
        config=TrainConfig(),
        encoder=info,
        shape=shape,
        label_keys=tuple(label_set.keys),
        label_names=tuple(label.name for label in label_set),
        mean_text_norm=10.0,
        radius=25.0,
        table_versions={},
        library_versions={},
        logit_spread=2.0,
        logit_energy=1.0,
        metrics={},
        created=now.isoformat(),
        weights_digest="",
    )
    network = build_network(shape)
    if isinstance(network, Residual):
        unit_ND = torch.from_numpy(prompts_ND)
        network.start_from(unit_ND, unit_ND.mean(0), 10 * unit_ND[:2048], 1 / labels)
    run_folder = folder / "store" / "runs" / "run"
    run_folder.mkdir(parents=True)
    save_prompts(run_folder, prompts_ND)
    save_adapter(run_folder, network, card)
    store.record_run(
        RunRow(
            run_id="run",
            task="zsl",
            encoder_id="bench",
            status="finished",
            seed=0,
            config={},
            table_versions={},
            metrics={},
            checkpoint="runs/run",
            created=now,
        )
    )
    return store


if __name__ == "__main__":
    main()
