"""How much memory, temporary disk and time does an evaluation take at 7,186 labels?

``python -m benchmarks.evaluation_memory --work DIR`` makes stores of random vectors: 80 labels and
7,186, of which every cell is known or a dozen an image, evaluates a run of random weights on each
in a process of its own, and reports that process's peak, Python, torch and Lance included.
``--before DIR`` evaluates the same stores with the taistore in another checkout as well.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape, build_network
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter, save_prompts
from taistore.encoders.protocol import EncoderInfo
from taistore.labels import Label, LabelSet
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.arrow import vector_column
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

DIM = 64
LISTED = 12
ROWS = 4096
RUN = "run"


class Case(NamedTuple):
    """A store: its labels and images, and whether every cell of these is known."""

    labels: int
    images: int
    complete: bool

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.labels}-{self.images}-{'complete' if self.complete else 'listed'}"


def small_encoder() -> EncoderInfo:
    """As the benchmarks' random encoder, with few dimensions: what is measured is the cells."""
    values = {name: getattr(ENCODER, name) for name in EncoderInfo.__dataclass_fields__}
    return EncoderInfo(**{**values, "dim": DIM, "encoder_id": f"random_{DIM}"})


def make_store(path: Path, case: Case) -> None:
    """A store of random vectors with a run, unless it is there."""
    if path.exists():
        return
    encoder = small_encoder()
    names = LabelSet(Label(f"l{n}", f"label {n}") for n in range(case.labels))
    store = Store.create(path, names, default_encoder=encoder.spec)
    store.register_encoder(encoder)
    random = np.random.default_rng(0)
    for low in range(0, case.images, ROWS):
        count = min(ROWS, case.images - low)
        ids = [f"{(low + n) * 0x9E3779B97F4A7C15 % 2**128:032x}" for n in range(count)]
        store.append("images", list(_rows(ids, case, random)))
        vectors = random.standard_normal((count, DIM), dtype=np.float32)
        store.append(
            "image_vectors",
            {"image_id": ids, "vector": vector_column(vectors)},
            encoder_id=encoder.encoder_id,
        )
    _add_run(store, encoder)


def _rows(ids: list[str], case: Case, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for image_id in ids:
        listed = random.choice(case.labels, size=LISTED, replace=False).tolist()
        yield {
            "image_id": image_id,
            "uri": f"{image_id}.jpg",
            "width": 1,
            "height": 1,
            "positives": listed[: LISTED // 4],
            "negatives": [] if case.complete else listed[LISTED // 4 :],
            "complete": case.complete,
            "combination_id": None,
            "split": "test",
        }


def _add_run(store: Store, encoder: EncoderInfo) -> None:
    labels = len(store.labels)
    shape = NetworkShape(network="residual", dim=DIM, labels=labels, hidden=0, dropout=0.0)
    folder = Path(store.uri) / "runs" / RUN
    folder.mkdir(parents=True)
    created = datetime.now(UTC)
    torch.manual_seed(0)
    prompts_ND = np.random.default_rng(1).standard_normal((labels, DIM)).astype(np.float32)
    card = AdapterCard(
        run_id=RUN,
        config=TrainConfig(),
        encoder=encoder,
        shape=shape,
        label_keys=tuple(store.labels.keys),
        label_names=tuple(label.name for label in store.labels),
        mean_text_norm=1.0,
        radius=1.0,
        table_versions={},
        library_versions={},
        logit_spread=1.0,
        logit_energy=0.0,
        metrics={},
        created=created.isoformat(),
        weights_digest="",
    )
    network = build_network(shape, seed=0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_prompts(folder, prompts_ND)
    save_adapter(folder, network, card)
    store.record_run(
        RunRow(
            run_id=RUN,
            task="zsl",
            encoder_id=encoder.encoder_id,
            status="finished",
            seed=0,
            config={},
            table_versions={},
            metrics={},
            checkpoint=f"runs/{RUN}",
            created=created,
        )
    )


def evaluate_here(path: Path) -> None:
    """Evaluate in this process and print what it took, and the figures, as JSON."""
    from taistore.evaluation.evaluate import evaluate

    store = Store.open(path)
    began, before = time.monotonic(), peak_bytes()
    ladder = evaluate(store, RUN).to_json()["ladder"]
    taken = {
        "seconds": time.monotonic() - began,
        "peak_mib": peak_bytes() / 2**20,
        "beyond_mib": (peak_bytes() - before) / 2**20,
        "ladder": ladder,
    }
    print(json.dumps(taken))


def measured(path: Path, checkout: Path) -> dict[str, Any]:
    """What an evaluation with the taistore of a checkout took, and its most temporary disk."""
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        most, ended = 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.05):
                files = Path(temporary).rglob("*")
                most = max(most, sum(f.stat().st_blocks * 512 for f in files if f.is_file()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        child = [sys.executable, str(Path(__file__).resolve()), "--only", str(path)]
        places = os.pathsep.join([str(checkout), str(Path(__file__).resolve().parents[1])])
        env = {**os.environ, "TMPDIR": temporary, "PYTHONPATH": places}
        try:
            done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True, env=env)
        finally:
            ended.set()
            watcher.join()
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "disk_mib": most / 2**20}


def main() -> None:
    """Make the stores, evaluate on each, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the stores")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        evaluate_here(options.only)
        return
    if options.work is None:
        parser.error("--work is missing: name a folder for the stores")
    here = Path(__file__).resolve().parents[1]
    checkouts = {"now": here} | ({"before": options.before} if options.before else {})
    rows = []
    for case in (
        Case(80, 2 * options.images, complete=True),
        Case(7186, options.images, complete=False),
        Case(7186, options.images, complete=True),
    ):
        path = options.work / case.name
        make_store(path, case)
        ladders = []
        for when, checkout in checkouts.items():
            taken = measured(path, checkout.resolve())
            ladders.append(taken["ladder"])
            known = "all" if case.complete else f"{LISTED} an image"
            row = [case.labels, f"{case.images:,}", known, when, round(taken["seconds"], 1)]
            sizes = [round(taken[name]) for name in ("peak_mib", "beyond_mib", "disk_mib")]
            rows.append([*row, *sizes, "yes" if taken["ladder"] == ladders[0] else "NO"])
            print(rows[-1], flush=True)
    columns = ["labels", "images", "known cells", "taistore", "seconds", "peak MiB"]
    columns += ["of it evaluation", "temporary disk MiB", "same figures"]
    path = write_report(
        "evaluation-memory",
        title="Memory and temporary disk of an evaluation",
        text=(__doc__ or "").split("\n\n", maxsplit=1)[1],
        tables=[Table(columns, rows)],
    )
    print(path)


if __name__ == "__main__":
    main()
