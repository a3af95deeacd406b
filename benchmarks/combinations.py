"""Which combinations are worth writing about? mAP by how labels are put together, several seeds.

``python -m benchmarks.combinations --work FOLDER`` takes the photos of ``benchmarks.accuracy``,
half of them to train (their labels only say which labels go together) and half to test, anew
for every seed. For each way it writes 10,000 template texts, trains on the texts alone and
evaluates on the test half. Results are kept in ``FOLDER/combinations.jsonl``: a rerun goes on.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.accuracy import SETS, prepare
from benchmarks.labelled import halve
from benchmarks.report import Table, spread, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.texts.combinations.dealing import Combinations
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.label_prompts import prompt_vectors

WAYS: dict[str, tuple[Combinations, bool]] = {
    "uniform (paper)": ("uniform", True),
    "balanced": ("balanced", True),
    "plausible, by labelled images": ("plausible", True),
    "plausible, by prompts": ("plausible", False),
}
"""How labels are put together, and whether the labels of the training half are known."""

STEPS = ("zero_shot", "adapter_global", "adapter", "ensemble")


def trial(base: Path, encoder: Encoder, way: str, *, texts: int, seed: int) -> dict[str, float]:
    """One way and seed in a store of its own, which is removed again."""
    folder = base.parent / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    store = Store.open(folder)
    combinations, labelled = WAYS[way]
    config = GenerateConfig(count=texts, seed=seed, combinations=combinations)
    if labelled:
        halve(store, seed)
        generate_texts(store, encoder, config)
    else:
        generate_texts(store, encoder, config)
        halve(store, seed)
    prompts_ND = prompt_vectors(store, encoder)
    run = train(
        store, encoder.info.encoder_id, TrainConfig(shift="none", seed=seed), prompts_ND=prompts_ND
    )
    found = evaluate(store, run.run_id, split="test")
    ladder = found.to_json()["ladder"]
    seen = pairs_seen(store)
    shutil.rmtree(folder)
    return {"seen": seen, **{step: ladder[step]["mAP"] for step in STEPS}}


def pairs_seen(store: Store) -> float:
    """Share of the pairs of labels in the combinations that some test photo shows together."""
    known = PartialLabels.read(store, split="test")
    there_IN = (known.truth(np.arange(len(known))) == 1).astype(np.int64)
    together_NN = there_IN.T @ there_IN
    rows = [row for batch in store.scan("combinations") for row in batch.to_pylist()]
    lists = [row["label_ids"] for row in rows]
    pairs = [(a, b) for own in lists for a in own for b in own if a < b]
    return float(np.mean([together_NN[a, b] > 0 for a, b in pairs]))


def main() -> None:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=10_000)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    options.work.mkdir(parents=True, exist_ok=True)
    log = options.work / "combinations.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    done = {(row["set"], row["way"], row["seed"]): row for row in map(json.loads, lines)}
    for name in options.sets:
        base = options.work / name / "base"
        if not base.exists():
            prepare(name, options.data, options.work, encoder, seeds=0, texts=0)
        for seed in range(options.seeds):
            for way in WAYS:
                if (name, way, seed) in done:
                    continue
                row = {"set": name, "way": way, "seed": seed}
                row |= trial(base, encoder, way, texts=options.texts, seed=seed)
                done[name, way, seed] = row
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)
    rows = []
    for name in options.sets:
        for way in WAYS:
            found = [done[name, way, seed] for seed in range(options.seeds)]
            cells = [spread([row[step] for row in found]) for step in STEPS]
            rows.append([SETS[name], way, spread([100 * row["seen"] for row in found]), *cells])
    path = write_report(
        "combinations",
        title="mAP by how labels are put together",
        text=(
            f"Encoder {encoder.info.spec}, {options.texts:,} template texts, no shift, half of the "
            f"photos to test; macro mAP in percent, mean ± deviation over {options.seeds} seeds "
            "(halves, texts and training seeded). `pairs seen`: share in percent of the pairs of "
            "labels in the combinations that some test photo shows together."
        ),
        tables=[Table(["photos", "combinations", "pairs seen", *STEPS], rows)],
    )
    print(path)


if __name__ == "__main__":
    main()
