"""Stored vectors to tags among 7,186 labels: how much of the machine's peak, against a plain loop.

Vectors are random, around prompts that are random too; the network is the default one, with random
weights in its correction. Useful work is what the default step needs: the cosines with all labels
and the correction's product, once each. Shapes: I images, D embedding dimension, N labels, R
regions per image.
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.random_encoder import ENCODER
from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.turns import costs
from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape, Residual, build_network
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter, save_prompts
from taistore.geometry.exact_search.fast_type import fast_type
from taistore.labels import Label, LabelSet
from taistore.scoring.choosing import Chooser, Images
from taistore.scoring.ladders.ladder import Ladder
from taistore.scoring.loaded_run import open_run
from taistore.scoring.score import score
from taistore.scoring.selection import Choice, chosen_tags
from taistore.store.arrow import vector_array, vector_column
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

LABELS = 7_186
TOP = 20
REGIONS = 49
BATCH = 1024


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Whole images of 512 and 1,024 dimensions, and images with a 7 x 7 grid."""
    for dim in (512, 1024):
        yield from _whole(work, dim=dim, images=200_000 if full else 20_000)
    yield from _regions(work, images=512 if full else 64)


def _whole(work: Path, *, dim: int, images: int) -> Iterator[Row]:
    random = np.random.default_rng(0)
    prompts_ND = _unit(random.standard_normal((LABELS, dim))).astype(np.float32)
    near_ID = 2 * prompts_ND[random.integers(0, LABELS, images)]
    noise_ID = _unit(random.standard_normal((images, dim), dtype=np.float32))
    vectors_ID = (10 * _unit(near_ID + 8 * noise_ID)).astype(np.float16)
    folder = work / f"whole-{dim}-{images}"
    store = make_store(folder, prompts_ND, vectors_ID)
    ladder = open_run(store, "run").ladder

    def job() -> None:
        score(store, "run", None, folder / "tags.parquet", top_k=TOP, overwrite=True)

    def plain() -> None:
        _plain_loop(store, ladder, folder / "plain.parquet")

    found = costs({"job": job, "plain": plain}, rounds=1 if images > 50_000 else 2, warm=False)
    kind = fast_type(torch.device("cpu"))
    peak = _peak(kind)
    rate = 4 * dim * LABELS * images / found["job"].cpu / 1e9
    what = f"{images:,} stored vectors of {dim} dimensions, {LABELS:,} labels, top {TOP}"
    name = "bfloat16" if kind is torch.bfloat16 else "float32"
    yield at_least(
        f"scoring: {what}: useful GFLOP/s of the job, and the {name} peak",
        ours=rate,
        other=peak,
        ratio=rate / peak,
        target=0.6,
    )
    yield at_least(
        f"scoring: {what}: CPU seconds of the job, and of a plain float32 loop",
        ours=found["job"].cpu,
        other=found["plain"].cpu,
        ratio=found["plain"].cpu / found["job"].cpu,
        target=2,
    )
    some_ID = vectors_ID[: 4 * BATCH]
    same = _same(ladder, some_ID, None)
    yield at_least(
        f"scoring: {len(some_ID):,} images of {dim} dimensions, {LABELS:,} labels: share with the "
        f"top {TOP} labels of float32",
        ours=same,
        other=1.0,
        ratio=same,
        target=0.999,
    )


def _regions(work: Path, *, images: int) -> Iterator[Row]:
    random = np.random.default_rng(1)
    dim = 512
    prompts_ND = _unit(random.standard_normal((LABELS, dim))).astype(np.float32)
    noise_BRD = _unit(random.standard_normal((images, REGIONS + 1, dim)))
    near_BRD = prompts_ND[random.integers(0, LABELS, (images, REGIONS + 1))]
    vectors_BRD = (10 * _unit(near_BRD + 4 * noise_BRD)).astype(np.float16)
    whole_BD, regions_BRD = vectors_BRD[:, 0], vectors_BRD[:, 1:]
    ladder = open_run(make_store(work / "regions", prompts_ND, whole_BD), "run").ladder
    chooser = Chooser(ladder, Choice(step="ensemble", top_k=TOP))
    asked = Images([""] * images, whole_BD, regions_BRD)
    flat_RD = torch.from_numpy(vectors_BRD.reshape(-1, dim))

    def fifty() -> None:
        for low in range(0, len(flat_RD), BATCH):
            vectors_BD = flat_RD[low : low + BATCH].float()
            ladder.scores(vectors_BD, steps=["ensemble"])["ensemble"].topk(TOP, dim=1)

    found = costs({"chosen": lambda: chooser(asked), "fifty": fifty}, rounds=1)
    yield at_most(
        f"scoring: {images} images with 7 x 7 regions of {dim} dimensions, {LABELS:,} labels: CPU "
        "seconds of their tags, and of fifty plain passes each",
        ours=found["chosen"].cpu,
        other=found["fifty"].cpu,
        ratio=found["chosen"].cpu / found["fifty"].cpu,
        target=0.5,
    )
    same = _same(ladder, whole_BD, regions_BRD)
    yield at_least(
        f"scoring: {images} images with 7 x 7 regions: share with the top {TOP} labels of float32",
        ours=same,
        other=1.0,
        ratio=same,
        target=0.999,
    )


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    found: NDArray[np.floating] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def _peak(kind: torch.dtype) -> float:
    """GFLOP/s of large square products, the best of several."""
    left, right = (torch.ones(2048, 2048, dtype=kind) for _ in range(2))
    out, taken = torch.empty(2048, 2048, dtype=kind), []
    for _ in range(8):
        began = time.process_time()
        torch.mm(left, right, out=out)
        taken.append(time.process_time() - began)
    return 2 * 2048**3 / min(taken) / 1e9


def _plain_loop(store: Store, ladder: Ladder, out: Path) -> None:
    """What one would write: batches of the table, the ladder's float32 scores, topk, polars."""
    frames = []
    columns = ["image_id", "vector"]
    keys = np.array(store.labels.keys)
    for batch in store.scan("image_vectors", columns=columns, encoder_id="bench", batch_rows=BATCH):
        vectors_BD = torch.from_numpy(vector_array(batch.column("vector")).astype(np.float32))
        scores_BN = ladder.scores(vectors_BD, steps=["ensemble"])["ensemble"]
        best = scores_BN.topk(TOP, dim=1)
        ids = np.repeat(batch.column("image_id").to_numpy(zero_copy_only=False), TOP)
        frames.append(
            pl.DataFrame(
                {
                    "image_id": ids,
                    "label_key": keys[best.indices.flatten().numpy()],
                    "score": best.values.flatten().numpy(),
                }
            )
        )
    pl.concat(frames).write_parquet(out)


def _same(
    ladder: Ladder, whole_BD: NDArray[np.float16], regions_BRD: NDArray[np.float16] | None
) -> float:
    """The share of images that get the labels that all of the ladder's scores give."""
    choice = Choice(step="ensemble", top_k=TOP)
    chooser = Chooser(ladder, choice)
    confidence = functools.partial(ladder.confidence, regions=regions_BRD is not None)
    same = 0
    for low in range(0, len(whole_BD), BATCH):
        some_BD = whole_BD[low : low + BATCH]
        some_BRD = None if regions_BRD is None else regions_BRD[low : low + BATCH]
        found, _ = chooser(Images([""] * len(some_BD), some_BD, some_BRD))
        scores_BN = ladder.scores(some_BD, some_BRD, steps=["ensemble"])["ensemble"]
        plain, _ = chosen_tags(scores_BN, choice, confidence=confidence)
        both = (np.sort(tags.label_id.reshape(-1, TOP), axis=1) for tags in (found, plain))
        same += int((next(both) == next(both)).all(axis=1).sum())
    return same / len(whole_BD)


def make_store(
    folder: Path, prompts_ND: NDArray[np.float32], vectors_ID: NDArray[np.float16]
) -> Store:
    """A store with images, their vectors and a run whose adapter is untrained."""
    labels, dim = prompts_ND.shape
    info = replace(ENCODER, encoder_id="bench", spec="bench", dim=dim)
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
    shape = NetworkShape(network="residual", dim=dim, labels=labels, hidden=0, dropout=0.0)
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
        torch.nn.init.normal_(network.linear.weight, std=0.05)
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
