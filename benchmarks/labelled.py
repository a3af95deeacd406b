"""Few shots and partial labels on real photos: what labelled images add, and where the shift helps.

``python -m benchmarks.labelled --work FOLDER`` takes ``../shared/data/voc2012`` and ``coco``, half
of the photos to train and half to test, anew for every seed (which also draws mask, shots and
training). Results are kept in ``FOLDER/<set>/labelled.jsonl``: a rerun goes on where it stopped.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.accuracy import SETS, Bench, prepare
from benchmarks.report import Table, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.known_labels import known_labels
from taistore.adapter.train import train
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.store.partial_labels import PartialLabels, hash_order
from taistore.store.store import Store

PROPORTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOTS = (1, 2, 4, 8, 16)
STEPS = ("zero_shot", "standardised", "adapter", "ensemble")

UNLABELLED = {
    "texts alone": TrainConfig(shift="none"),
    "texts alone, unlabelled images": TrainConfig(shift="neighbours", split="train"),
}
PARTIAL: dict[str, dict[str, Any]] = {
    "plain shift (Eq. 10)": {"shift": "plain", "learn_from": "texts"},
    "shrunk shift": {"neighbour_rounds": 0, "learn_from": "texts"},
    "images alone (partial BCE)": {"shift": "none", "learn_from": "images"},
    "texts and images, no shift": {"shift": "none", "learn_from": "both"},
    "default": {},
}
FEW: dict[str, dict[str, Any]] = {
    "texts and images, no shift": {"shift": "none", "learn_from": "both"},
    "images alone": {"shift": "none", "learn_from": "images"},
    "default": {},
}
PROBE = "linear probe"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of one seed; ``amount`` is the known proportion or the shots, 0 without."""

    task: str
    method: str
    amount: float
    seed: int


def trials(tasks: list[str], seeds: int, proportions: tuple[float, ...]) -> Iterator[Trial]:
    """Every trial, one seed after the other."""
    for seed in range(seeds):
        for method in UNLABELLED:
            yield Trial("zsl", method, 0, seed)
        for amount in proportions if "pll" in tasks else ():
            for method in PARTIAL:
                yield Trial("pll", method, amount, seed)
        for shots in SHOTS if "fsl" in tasks else ():
            for method in (*FEW, PROBE):
                yield Trial("fsl", method, shots, seed)


def config(trial: Trial) -> TrainConfig:
    """What the trial trains with."""
    if trial.task == "zsl":
        values = UNLABELLED[trial.method].to_json()
        return TrainConfig.from_json({**values, "seed": trial.seed})
    chosen: dict[str, Any] = {"task": trial.task, "seed": trial.seed}
    if trial.task == "pll":
        chosen |= {"known": trial.amount, "mask_seed": trial.seed, **PARTIAL[trial.method]}
    else:
        chosen |= {"shots": int(trial.amount), "shot_seed": trial.seed}
        chosen |= FEW.get(trial.method, {})
    return TrainConfig(**chosen)


def halve(store: Store, seed: int) -> None:
    """Give half of the photos, drawn by ``seed``, the split train and the others test."""
    images = PartialLabels.read(store)
    chosen = hash_order(images.image_ids, seed=seed)[: len(images) // 2]
    train_ids = set(images.image_ids[chosen].tolist())
    rows = [row for batch in store.scan("images") for row in batch.to_pylist()]
    for row in rows:
        row["split"] = "train" if row["image_id"].encode() in train_ids else "test"
    store.upsert("images", rows)


def run_trial(bench: Bench, trial: Trial) -> dict[str, float]:
    """mAP in percent by step of the ladder."""
    store = bench.stores[0]
    if trial.method == PROBE:
        return {"adapter": linear_probe(store, bench.encoder_id, config(trial))}
    run = train(store, bench.encoder_id, config(trial), prompts_ND=bench.prompts_ND)
    found = evaluate(store, run.run_id, split="test")
    ladder = found.to_json()["ladder"]
    return {step: ladder[step]["mAP"] for step in STEPS}


def linear_probe(store: Store, encoder_id: str, settings: TrainConfig) -> float:
    """mAP of a logistic regression per label on the same shots; constant where a class lacks."""
    shown = known_labels(store, settings)
    tested = PartialLabels.read(store, split="test")
    vectors = {
        name: _unit(store, encoder_id, images)
        for name, images in (("train", shown), ("test", tested))
    }
    truth_IN = shown.truth(np.arange(len(shown)))
    scores = np.zeros((len(tested), tested.labels), dtype=np.float32)
    for label in range(tested.labels):
        target_I = truth_IN[:, label] == 1
        if target_I.any() and not target_I.all():
            # The inverse regularisation is the best of 0.1, 1, 10 and 100 on these photos.
            probe = LogisticRegression(C=10, max_iter=500).fit(vectors["train"], target_I)
            scores[:, label] = probe.decision_function(vectors["test"])
    truth = tested.truth(np.arange(len(tested)))
    return 100 * mean_average_precision(average_precision(scores, truth))


def _unit(store: Store, encoder_id: str, images: PartialLabels) -> NDArray[np.float32]:
    ids = [image_id.decode() for image_id in images.image_ids.tolist()]
    vectors = store.vectors("image_vectors", ids, encoder_id=encoder_id).astype(np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """What a file keeps of the trials that were run: none where it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def results(
    bench: Bench,
    path: Path,
    wanted: list[Trial],
    run: Callable[[Bench, Trial], dict[str, float]] = run_trial,
) -> list[dict[str, Any]]:
    """Every trial's figures, those of earlier runs read back."""
    done = {Trial(**row["trial"]): row for row in kept_rows(path)}
    halved = None
    with path.open("a", encoding="utf-8") as file:
        for trial in wanted:
            if trial in done:
                continue
            if halved != trial.seed:
                halve(bench.stores[0], trial.seed)
                halved = trial.seed
            row = {"trial": asdict(trial), "mAP": run(bench, trial)}
            done[trial] = row
            print(json.dumps(row), file=file, flush=True)
            print(bench.name, json.dumps(row), flush=True)
    return [done[trial] for trial in wanted]


def table(bench: Bench, rows: list[dict[str, Any]], task: str, step: str) -> Table:
    """Methods down, amounts across: mean ± deviation over the seeds."""
    amounts = sorted({row["trial"]["amount"] for row in rows if row["trial"]["task"] == task})
    names = {"pll": tuple(PARTIAL), "fsl": (*FEW, PROBE)}[task]
    lines = []
    for task_, method in [("zsl", name) for name in UNLABELLED] + [(task, n) for n in names]:
        cells = []
        for amount in amounts:
            values = [
                row["mAP"].get(step)
                for row in rows
                if row["trial"]["method"] == method
                and row["trial"]["task"] == task_
                and row["trial"]["amount"] in (amount, 0)
            ]
            known = [value for value in values if value is not None]
            cells.append(f"{np.mean(known):.1f} ± {np.std(known):.1f}" if known else "")
        lines.append([method, *cells])
    heads = [
        f"{amount:.0%} known" if task == "pll" else f"{amount:.0f} shots" for amount in amounts
    ]
    what = {"pll": "Partial labels", "fsl": "Few shots"}[task]
    return Table(["", *heads], lines, f"{what}, {SETS[bench.name]}, step `{step}`.")


def zero_shot_table(found: Mapping[str, list[dict[str, Any]]]) -> Table:
    """What needs no training, on the same test halves."""
    lines = []
    for name, rows in found.items():
        ladders = [row["mAP"] for row in rows if row["trial"]["method"] == "texts alone"]
        cells = [f"{np.mean([x[step] for x in ladders]):.1f}" for step in STEPS[:2]]
        lines.append([SETS[name], *cells])
    return Table(["photos", *STEPS[:2]], lines, "Without training, on the same halves.")


def main() -> None:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and results")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--tasks", nargs="+", choices=("pll", "fsl"), default=["pll", "fsl"])
    parser.add_argument("--proportions", nargs="+", type=float, default=list(PROPORTIONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=10_000)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    found: dict[str, list[dict[str, Any]]] = {}
    tables = []
    wanted = list(trials(options.tasks, options.seeds, tuple(options.proportions)))
    for name in options.sets:
        bench = prepare(name, options.data, options.work, encoder, seeds=1, texts=options.texts)
        found[name] = results(bench, options.work / name / "labelled.jsonl", wanted)
        for task in options.tasks:
            tables += [table(bench, found[name], task, step) for step in ("adapter", "ensemble")]
    path = write_report(
        "labelled",
        title="mAP on real photos with few or partial labels",
        text=(
            f"Encoder {encoder.info.spec}, {options.texts:,} template texts; half of the photos to "
            f"train on, half to test, drawn anew for each of {options.seeds} seeds; macro mAP in "
            "percent, mean ± deviation over the seeds, both steps with a 7 x 7 grid of regions. "
            "Partial labels: every cell is known with the given probability. Rows of texts alone "
            "do not depend on the columns; the linear probe sees whole images only. All are the "
            "residual network of the default settings."
        ),
        tables=[zero_shot_table(found), *tables],
    )
    print(path)


if __name__ == "__main__":
    main()
