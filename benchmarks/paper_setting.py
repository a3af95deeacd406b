"""The paper's network and setting on real photos: its ladder and the curves of its Fig. 6.

``python -m benchmarks.paper_setting --work FOLDER`` trains the network of 10.7 M weights as section
4.1 of arXiv:2312.04160 says (60 epochs, batch 64, 1-cycle up to 1e-4, radii 25 / 10 / 1 in
multiples of the vectors' norm), beside our defaults, on the halves of ``benchmarks.labelled``:

- ladder: 10,000 texts and no labelled image.
- Fig. 6a: seven radii on the sphere, six inside it.
- Fig. 6b: texts mixed with 1, 4 and 16 images per label.
- Fig. 6c: the plain shift at three proportions of known cells.

The curves take fewer texts (``--curve-texts``), of which Fig. 5a shows that the network gets by on.
A training is minutes. Results are kept in ``FOLDER/<set>/paper-setting.jsonl``, seed by seed: a
rerun goes on where it stopped, ``--report`` writes what is there.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accuracy import SETS, Bench, prepare
from benchmarks.labelled import Trial, kept_rows, results
from benchmarks.report import Table, spread, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate

STEPS = ("zero_shot", "standardised", "adapter_logits", "adapter_global", "adapter", "ensemble")
FIGURES = ("ladder", "6c", "6b", "6a")
OURS, PAPERS = "default", "paper's network"
RADII = (0, 0.5, 1, 1.5, 2.5, 4, 6)
SHOTS = (1, 4, 16)
PROPORTIONS = (0.1, 0.5, 0.9)
CAPTIONS = {
    "ladder": "No labelled image: texts alone for the paper's network, and with the unlabelled "
    "photos of the training half for ours.",
    "6c": "Fig. 6c: proportion of known cells (0: the plain perturbation).",
    "6b": "Fig. 6b: images per label; without any, see Fig. 6c at 0.",
    "6a": "Fig. 6a: radius as a multiple of the texts' mean norm, which is 10 for the paper's "
    "vectors. Bare logits of the whole image: the paper's score.",
}


def trials(figure: str, seed: int) -> Iterator[Trial]:
    """The trials of one figure; ``amount`` is its abscissa."""
    if figure == "6a":
        for radius in RADII:
            yield Trial(figure, "surface", radius, seed)
            if radius:
                yield Trial(figure, "interior", radius, seed)
        return
    amounts = {"ladder": (0,), "6b": SHOTS, "6c": (0, *PROPORTIONS)}[figure]
    for amount in amounts:
        for method in (OURS, PAPERS):
            yield Trial(figure, method, amount, seed)


def config(trial: Trial) -> TrainConfig:
    """What the trial trains with."""
    make = TrainConfig if trial.method == OURS else TrainConfig.paper
    chosen: dict[str, Any] = {"seed": trial.seed}
    if trial.task == "6a":
        chosen |= {"radius": f"{trial.amount:g}x", "where": trial.method}
    elif not trial.amount:
        if trial.method == OURS:
            chosen |= {"shift": "neighbours", "split": "train"}
    elif trial.task == "6b":
        chosen |= {"task": "fsl", "shots": int(trial.amount), "shot_seed": trial.seed}
    else:
        chosen |= {"task": "pll", "known": trial.amount, "mask_seed": trial.seed}
    return make(**chosen)


def run_trial(bench: Bench, trial: Trial) -> dict[str, float]:
    """mAP in percent by step of the ladder."""
    store = bench.stores[0]
    run = train(store, bench.encoder_id, config(trial), prompts_ND=bench.prompts_ND)
    ladder = evaluate(store, run.run_id, split="test").to_json()["ladder"]
    return {step: ladder[step]["mAP"] for step in STEPS}


def tables(name: str, rows: list[dict[str, Any]]) -> list[Table]:
    """One table per figure: mean ± deviation over the seeds, and how many there are."""
    found = []
    for figure in FIGURES:
        own = [row for row in rows if row["trial"]["task"] == figure]
        groups: dict[tuple[str, float], list[dict[str, float]]] = {}
        for row in own:
            key = (row["trial"]["method"], row["trial"]["amount"])
            groups.setdefault(key, []).append(row["mAP"])
        lines = [
            [method, f"{amount:g}", len(ladders)]
            + [spread([ladder[step] for ladder in ladders]) for step in STEPS]
            for (method, amount), ladders in sorted(groups.items())
        ]
        columns = ["", "abscissa", "seeds", *STEPS]
        if lines:
            found.append(Table(columns, lines, f"{SETS[name]}. {CAPTIONS[figure]}"))
    return found


def main() -> None:
    """Run the trials that are missing, or write the report of what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and results")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--curve-texts", type=int, default=2_000)
    parser.add_argument("--report", action="store_true", help="train nothing, write the report")
    options = parser.parse_args()
    paths = {name: options.work / name / "paper-setting.jsonl" for name in options.sets}
    encoder = load_encoder(options.encoder)
    for name in () if options.report else options.sets:
        benches = {
            texts: prepare(name, options.data, options.work, encoder, seeds=1, texts=texts)
            for texts in (options.texts, options.curve_texts)
        }
        for seed in range(options.seeds):
            for figure in options.figures:
                texts = options.texts if figure == "ladder" else options.curve_texts
                results(benches[texts], paths[name], list(trials(figure, seed)), run_trial)
    every = set(options.figures) == set(FIGURES)
    written = write_report(
        "paper-setting" if every else f"paper-setting-{'-'.join(options.figures)}",
        title="The paper's network and setting on real photos",
        text=(
            f"Encoder {encoder.info.spec}; the ladder learns from {options.texts:,} template texts,"
            f" the curves from {options.curve_texts:,}. Half of the photos to train on, half to "
            "test, drawn anew for each seed; macro mAP in percent, mean ± deviation over the "
            "seeds. `adapter_logits` is the score that the paper reads; `regions` and above use "
            "a 7 x 7 grid."
        ),
        tables=[table for name, path in paths.items() for table in tables(name, kept_rows(path))],
    )
    print(written)


if __name__ == "__main__":
    main()
