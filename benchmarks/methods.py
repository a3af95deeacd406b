"""Adapter, CoOp, DualCoOp, TaI-DPT and Partial-BCE on real photos: quality, time and memory.

``python -m benchmarks.methods --work FOLDER`` takes halves of ``../shared/data/voc2012`` and
``coco``, drawn anew by each seed: zero-shot, partial labels (10, 50, 90 % known) and few shots
(1, 4, 16), each method in a process of its own, so that its processor time and peak memory are its
own. Prompt learners also run as this encoder wants them (docs/prompt-learners.md), and averaged
with our run as in supplementary 8 of arXiv:2312.04160. Figures are kept in
``FOLDER/<set>/methods.jsonl``: a rerun goes on where it stopped, ``--report`` writes what is there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.accuracy import SETS, prepare
from benchmarks.labelled import Trial, halve, kept_rows
from benchmarks.report import Table, spread, write_report
from taistore.encoders.registry import load_encoder
from taistore.project import Project
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.texts.rows.token_vectors import write_token_vectors

AMOUNTS: Mapping[str, tuple[float, ...]] = {
    "zsl": (0,),
    "pll": (0.1, 0.5, 0.9),
    "fsl": (1, 4, 16),
}
OURS, PAPERS = "ours", "TaI-Adapter, its network and settings"
WORDS = {
    "context": 4,
    "context_init": "a photo of a",
    "loss": "ranking",
    "temperature": 4.0,
    "spatial": 20.0,
    "lr": 0.01,
    "epochs": 15,
}
"""Settings of CoOp for the packaged encoder, tuned on one half of VOC2012 (docs/log.md)."""

DUAL_WORDS = {
    "context": 4,
    "context_init": "a photo of a",
    "loss": "ranking",
    "lr": 0.02,
    "epochs": 10,
}
"""The same of DualCoOp."""

METHODS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "zsl": {
        OURS: {"split": "train"},
        "ours, texts alone": {"shift": "none"},
        PAPERS: {"network": "paper"},
        "TaI-DPT, as published": {"method": "tai-dpt"},
        "TaI-DPT, from words": {"method": "tai-dpt", "context": 4, "context_init": "a photo of a"},
    },
    "pll": {
        OURS: {},
        "Partial-BCE, images alone": {
            "learn_from": "images",
            "loss": "partial-bce",
            "shift": "none",
        },
        "DualCoOp, as published": {"method": "dualcoop"},
        "DualCoOp, from words": {"method": "dualcoop", **DUAL_WORDS},
    },
    "fsl": {
        OURS: {},
        "CoOp, as published": {"method": "coop"},
        "CoOp, from words": {"method": "coop", **WORDS},
    },
}
PUBLISHED_SEEDS = 1
"""Of the prompt learners as published: minutes each, and far below zero-shot with this encoder."""

COSTS = {"train_cpu_s": "{:.3g}", "peak_mib": "{:,.0f}", "score_cpu_s_per_1000": "{:.2g}"}
INTEGRATED = {"pll": "DualCoOp, from words", "fsl": "CoOp, from words"}


def trials(tasks: list[str], seeds: int) -> Iterator[Trial]:
    """Every trial, seed by seed."""
    for seed in range(seeds):
        for task in tasks:
            for amount in AMOUNTS[task]:
                for method in METHODS[task]:
                    if seed < PUBLISHED_SEEDS or "as published" not in method:
                        yield Trial(task, method, amount, seed)


def settings(trial: Trial) -> dict[str, Any]:
    """What :meth:`Project.train` takes."""
    chosen = {**METHODS[trial.task][trial.method], "task": trial.task, "seed": trial.seed}
    if trial.task == "pll":
        chosen |= {"known": trial.amount, "mask_seed": trial.seed}
    if trial.task == "fsl":
        chosen |= {"shots": int(trial.amount), "shot_seed": trial.seed}
    return chosen


def run_trial(folder: Path, trial: Trial) -> dict[str, Any]:
    """Train, evaluate, and score the stored photos once more by the clock."""
    # A learner that collapses ends in numbers so small that a CPU takes thirty times as long.
    torch.set_flush_denormal(True)
    project = Project.open(folder, device="cpu")
    began = time.process_time()
    run = project.train(**settings(trial))
    trained = time.process_time() - began
    peak = peak_bytes()
    ladder = run.evaluate(split="test").to_json()["ladder"]
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        exported = run.export_scores(Path(out) / "scores.npy", split="test")
        scored = time.process_time() - began
    return {
        "run_id": run.run_id,
        "mAP": {step: figures["mAP"] for step, figures in ladder.items()},
        "train_cpu_s": trained,
        "peak_mib": peak / 2**20,
        "score_cpu_s_per_1000": 1000 * scored / exported.images,
    }


def measured(folder: Path, trial: Trial) -> dict[str, Any]:
    """:func:`run_trial` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.methods", "--work", str(folder)]
    done = subprocess.run(
        [*command, "--trial", json.dumps(asdict(trial))], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def integrate(folder: Path, rows: Mapping[Trial, dict[str, Any]], trial: Trial) -> dict[str, Any]:
    """Our run averaged with the prompt learner of the same task, amount and seed."""
    members = [
        rows[Trial(trial.task, method, trial.amount, trial.seed)]["run_id"]
        for method in (OURS, INTEGRATED[trial.task])
    ]
    project = Project.open(folder, device="cpu")
    made = project.ensemble(members, rule="paper", split="test")
    ladder = project.run(made.run_id).evaluate(split="test").to_json()["ladder"]
    return {
        "run_id": made.run_id,
        "mAP": {step: figures["mAP"] for step, figures in ladder.items()},
    }


def tables(name: str, rows: list[dict[str, Any]]) -> list[Table]:
    """A table a task: mAP at the top by amount, then what it costs at the largest."""
    found = []
    for task, amounts in AMOUNTS.items():
        own = [row for row in rows if row["trial"]["task"] == task]
        methods = list(dict.fromkeys(row["trial"]["method"] for row in own))
        lines = [_line(method, own, amounts) for method in methods]
        if lines:
            base = [_mean(own, amount, "zero_shot") for amount in amounts]
            top = [_mean(own, amount, "standardised") for amount in amounts]
            lines = [
                ["zero-shot", "", *base, "", "", ""],
                ["standardised zero-shot", "", *top, "", "", ""],
                *lines,
            ]
            heads = [f"{amount:g}" for amount in amounts] if task != "zsl" else ["mAP"]
            columns = ["", "step", *heads, "train CPU s", "peak MiB", "CPU s per 1,000 photos"]
            found.append(Table(columns, lines, f"{SETS[name]}, {task}."))
    return found


def _mean(rows: list[dict[str, Any]], amount: float, step: str) -> str:
    values = [
        row["mAP"][step]
        for row in rows
        if row["trial"]["method"] == OURS and row["trial"]["amount"] == amount
    ]
    return spread(values) if values else "-"


def _line(method: str, rows: list[dict[str, Any]], amounts: tuple[float, ...]) -> list[str]:
    own = [row for row in rows if row["trial"]["method"] == method]
    # An average by the paper's rule stands where its adapter's probabilities of whole images stand.
    step = next(s for s in ("prompts", "ensemble", "adapter_global") if s in own[0]["mAP"])
    step = "adapter_logits" if method == PAPERS else step
    cells = []
    for amount in amounts:
        values = [row["mAP"][step] for row in own if row["trial"]["amount"] == amount]
        cells.append(f"{spread(values)} ({len(values)})" if values else "-")
    last = [row for row in own if row["trial"]["amount"] == amounts[-1] and "peak_mib" in row]
    costs = [
        form.format(fmean(row[field] for row in last)) if last else "-"
        for field, form in COSTS.items()
    ]
    return [method, step, *cells, *costs]


def measure(name: str, options: argparse.Namespace) -> None:
    """Run the trials of a set that are missing."""
    encoder = load_encoder("packaged")
    bench = prepare(name, options.data, options.work, encoder, seeds=1, texts=options.texts)
    folder = Path(bench.stores[0].uri)
    path = options.work / name / "methods.jsonl"
    done = {Trial(**row["trial"]): row for row in kept_rows(path)}
    wanted = list(trials(options.tasks, options.seeds))
    if "zsl" in options.tasks:
        write_token_vectors(bench.stores[0], encoder)
    wanted += [
        Trial(task, f"ours and {INTEGRATED[task]}", amount, seed)
        for seed in range(options.seeds)
        for task in options.tasks
        if task in INTEGRATED
        for amount in AMOUNTS[task]
    ]
    halved = None
    for trial in sorted((one for one in wanted if one not in done), key=lambda one: one.seed):
        if halved != trial.seed:
            halve(bench.stores[0], trial.seed)
            halved = trial.seed
        if trial.method in METHODS[trial.task]:
            figures = measured(folder, trial)
        else:
            figures = integrate(folder, done, trial)
        done[trial] = {"trial": asdict(trial), **figures}
        with path.open("a", encoding="utf-8") as file:
            print(json.dumps(done[trial]), file=file)
        print(name, json.dumps(done[trial]), flush=True)


def main() -> None:
    """Run the trials that are missing and write the report of what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and figures")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--tasks", nargs="+", choices=AMOUNTS, default=list(AMOUNTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--report", action="store_true", help="train nothing, write the report")
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trial is not None:
        print(json.dumps(run_trial(options.work, Trial(**json.loads(options.trial)))))
        return
    for name in () if options.report else options.sets:
        measure(name, options)
    paths = {name: options.work / name / "methods.jsonl" for name in options.sets}
    written = write_report(
        "methods" if len(paths) == len(SETS) else f"methods-{'-'.join(paths)}",
        title="Adapter and prompt learners on real photos",
        text=(
            f"Packaged encoder, {options.texts:,} template texts, 7 x 7 regions; half of the "
            "photos to train on, half to test, drawn anew by each seed. Macro mAP in percent at "
            "the step named, mean ± deviation, in brackets the seeds; columns are the "
            "share of known labels, or shots. Costs are those of the last column; the memory is "
            "all that the process held."
        ),
        tables=[table for name, path in paths.items() for table in tables(name, kept_rows(path))],
    )
    print(written)


if __name__ == "__main__":
    main()
