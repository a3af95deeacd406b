"""Real CLIP ViT-B/32 vectors: train on the texts of 1,203 LVIS classes, tag image exemplars.

``python -m benchmarks.clip_vectors --work /some/folder`` imports the vectors of
``../shared/data/clip-vit-b-32`` into a store, trains on the text vectors ("a {name}", one a class)
and compares top-1 and top-5 of zero-shot with the adapter's, several seeds.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Table, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.train import train
from taistore.encoders.imported.vector_reader import imported_info
from taistore.label_files.label_file import read_labels
from taistore.scoring.ladders.ladder import Ladder
from taistore.store.store import Store
from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors
from taistore.texts.label_prompts import cached_prompt_vectors

NAME = "clip-vit-b-32"


def main() -> None:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clip-vit-b-32"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the store")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    names = options.data / "lvis1203-names.txt"
    store = Store.create(options.work, read_labels(names), default_encoder=f"vectors:{NAME}")
    texts = options.data / "text-lvis1203.npy"
    ingest_text_vectors(store, NAME, texts, ids=names, template="a {}")
    images_ND = np.load(options.data / "image-exemplar-lvis1203.npy").astype(np.float32)
    info = imported_info(NAME, dim=images_ND.shape[1])
    prompts_ND = cached_prompt_vectors(store, info)
    assert prompts_ND is not None, "imported vectors always have theirs, or raise"
    networks = {
        "residual (default)": TrainConfig(),
        "paper": TrainConfig.paper(),
    }
    rows: list[list[str]] = []
    for network, config in networks.items():
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(options.seeds):
            own = TrainConfig.from_json({**config.to_json(), "seed": seed})
            run = train(store, info.encoder_id, own, prompts_ND=prompts_ND)
            adapter = load_adapter(run.checkpoint)
            scores = Ladder(prompts_ND, adapter.logits).scores(torch.from_numpy(images_ND), None)
            for step, scores_BN in scores.items():
                found.setdefault(step, []).append(top_1_and_5(scores_BN.numpy()))
        for name, figures in found.items():
            top1, top5 = np.array(figures).T
            cells = [f"{np.mean(v):.1f} ± {np.std(v):.1f}" for v in (top1, top5)]
            rows.append([network, name, *cells])
            print(rows[-1], flush=True)
    path = write_report(
        "clip-vectors",
        title="Top-1 and top-5 on real CLIP ViT-B/32 vectors",
        text=(
            "Trained on one text vector for each of 1,203 LVIS classes, tested on the mean "
            "image vector of a few exemplars a class; percent, mean ± deviation of "
            f"{options.seeds} seeds."
        ),
        tables=[Table(["network", "step", "top-1", "top-5"], rows)],
    )
    print(path)


def top_1_and_5(scores_BN: NDArray[np.float32]) -> tuple[float, float]:
    """Percent of rows whose own label is ranked first, and among the first five."""
    own_B1 = np.diagonal(scores_BN)[:, None]
    rank_B = (scores_BN > own_B1).sum(axis=1)
    return 100 * float((rank_B < 1).mean()), 100 * float((rank_B < 5).mean())


if __name__ == "__main__":
    main()
