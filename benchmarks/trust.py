"""Do thresholds keep the precision that they promise, and what do tags give where nobody is asked?

``python -m benchmarks.trust --work FOLDER`` makes stores of ``../shared/data`` (VOC2012 and COCO
photos with the packaged encoder, and real CLIP ViT-B/32 vectors of LVIS classes), trains zsl, and
takes random halves of the images: thresholds, probabilities and cuts are fitted on one half and
held against the other.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.special import bdtr
from sklearn.isotonic import IsotonicRegression

import taistore
from benchmarks.accuracy import UNLABELLED, prepare
from benchmarks.report import Table, write_report
from taistore.adapter.train import train
from taistore.defaults import CERTAINTY, MOST_TAGS
from taistore.encoders.registry import load_encoder
from taistore.evaluation.calibration import shrunk_platt
from taistore.evaluation.calibration.average_cut import best_average_cut
from taistore.evaluation.calibration.precision_cuts import precision_cut
from taistore.evaluation.calibration.reached import CLEARLY
from taistore.evaluation.calibration.shrunk_platt import Sigmoid, label_sigmoid, pooled_sigmoid
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.scoring.cuts.image_share import stands_out
from taistore.scoring.cuts.step_choice import best_step
from taistore.scoring.ladders.ladder import Step, confidence
from taistore.store.store import Store

Scores = NDArray[np.float32]
SETS = ("voc2012", "coco", "clip-vit-b-32")
PROMISES = (0.95, 0.9, 0.8, 0.7, 0.5)
DEVIATIONS = ((0.15, 0.7), (0.3, 1.0), (0.5, 1.0), (0.5, 1.5), (0.5, 2.0), (10.0, 10.0))
BINS = 15


@dataclass(frozen=True, slots=True)
class Scored:
    """One set of images: scores [I, N] of each step and what is known."""

    name: str
    steps: tuple[Step, ...]
    scores: dict[Step, Scores]
    truth_IN: NDArray[np.int8]

    @property
    def top(self) -> Scores:
        """Scores of the top of the ladder."""
        return self.scores[self.steps[-1]]

    def halves(self, count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Random halves of the images."""
        for seed in range(count):
            order = np.random.default_rng(seed).permutation(len(self.truth_IN))
            yield order[: len(order) // 2], order[len(order) // 2 :]


class F1(NamedTuple):
    """Of all cells together."""

    f1: float
    precision: float
    recall: float


def main() -> None:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--halves", type=int, default=20)
    options = parser.parse_args()
    sets = [*_photos(options.data, options.work), _clip(options.data, options.work)]
    tables = [
        _promises(sets, options.halves),
        _probabilities(sets, options.halves),
        _cuts(sets, options.halves),
        _steps(sets, options.halves),
    ]
    path = write_report(
        "trust",
        title="Thresholds, probabilities and cuts, held against the other half",
        text=(
            f"Over {options.halves} random halves of VOC2012 (1,000 photos, 20 labels) and COCO "
            "(600 photos, 80 labels), packaged encoder, 10,000 template texts, zsl with regions, "
            "and of 1,203 CLIP ViT-B/32 vectors of LVIS classes, one image a label; everything is "
            "fitted on one half, figures are of the other. Of the CLIP vectors probabilities and "
            "cuts are of 3 halves; a label that has its one image in the half to test on has none "
            "in the half to fit on, which is the worst that can happen to a calibration."
        ),
        tables=tables,
    )
    print(path)


def _photos(data: Path, work: Path) -> Iterator[Scored]:
    encoder = load_encoder("packaged")
    for name in SETS[:2]:
        bench = prepare(name, data, work, encoder, seeds=1, texts=10_000)
        prompts_ND = bench.prompts_ND
        run = train(bench.stores[0], bench.encoder_id, UNLABELLED, prompts_ND=prompts_ND)
        yield _scored(name, bench.stores[0], run.run_id)


def _clip(data: Path, work: Path) -> Scored:
    name = SETS[2]
    names = data / name / "lvis1203-names.txt"
    if (work / name).exists():
        project = taistore.open(work / name)
    else:
        project = taistore.create(work / name, labels=names, encoder=f"vectors:{name}")
    texts = data / name / "text-lvis1203.npy"
    project.ingest_text_vectors(texts, name=name, ids=names, template="a {}")
    vectors = np.load(data / name / "image-exemplar-lvis1203.npy")
    rows = pa.table(
        {
            "image": [f"{n:04d}.jpg" for n in range(len(vectors))],
            "vector": pa.array(list(vectors), pa.list_(pa.float32(), vectors.shape[1])),
            "labels": [[key] for key in project.labels.keys],
            "split": ["test"] * len(vectors),
        }
    )
    pq.write_table(rows, work / f"{name}.parquet")
    project.ingest_image_vectors(work / f"{name}.parquet", name=name)
    return _scored(name, project.store, project.train(task="zsl").run_id)


def _scored(name: str, store: Store, run_id: str) -> Scored:
    split = labelled_split(store, run_id, Scope(split="test"))
    batches = [batch for batch in split.batches() if batch.scores]
    scores = {
        step: np.concatenate([batch.scores[step] for batch in batches]) for step in split.kept_steps
    }
    truth_IN = np.concatenate([batch.truth_BN for batch in batches])
    print(name, truth_IN.shape, flush=True)
    return Scored(name, split.kept_steps, scores, truth_IN)


def _promises(sets: list[Scored], halves: int) -> Table:
    rows = []
    for promised in PROMISES:
        whole = np.zeros(5)
        for found in sets:
            figures = _promise(found, promised, halves)
            whole += figures
            rows.append([f"{promised:g}", found.name, *_promise_cells(figures, halves)])
        rows.append([f"{promised:g}", "all", *_promise_cells(whole, halves)])
    columns = ["promised", "set", "labels a half with a threshold", "not significantly below"]
    columns += ["empirically kept", "precision of all tags"]
    caption = (
        f"Precision, {CERTAINTY:.0%} confidence a label. Of the labels that a threshold was found "
        "for and that have a tag on the other half: the share that is not below the promise by a "
        f"binomial test at {CLEARLY:.0%}, and the plain share whose precision there, of some "
        "dozens of images, is as high as promised."
    )
    return Table(columns, rows, caption)


def _promise(found: Scored, promised: float, halves: int) -> NDArray[np.float64]:
    """Promises, those not significantly below, those kept, tags and right tags."""
    figures = np.zeros(5)
    for fit_I, check_I in found.halves(halves):
        for n in range(found.truth_IN.shape[1]):
            cut = precision_cut(
                found.top[fit_I, n],
                found.truth_IN[fit_I, n],
                precision=promised,
                confidence=CERTAINTY,
            )
            if cut is None:
                continue
            tags_I = found.top[check_I, n] >= cut.threshold
            tagged, right = int(tags_I.sum()), int(found.truth_IN[check_I, n][tags_I].sum())
            if tagged:
                fine = bdtr(right, tagged, promised) >= CLEARLY
                figures += [1, fine, right >= promised * tagged, tagged, right]
    return figures


def _promise_cells(figures: NDArray[np.float64], halves: int) -> list[str]:
    made, fine, kept, tagged, right = figures
    if not made:
        return ["0", "", "", ""]
    shares = (fine / made, kept / made, right / tagged)
    return [f"{made / halves:.2f}", *(f"{share:.3f}" for share in shares)]


Fit = Callable[[Scores, NDArray[np.int8]], Callable[[Scores], NDArray[np.float64]]]
"""Scores and truth of one half to what gives probabilities of the other's scores."""


def _platt(slope: float, offset: float) -> Fit:
    def fit(
        scores_IN: Scores, truth_IN: NDArray[np.int8]
    ) -> Callable[[Scores], NDArray[np.float64]]:
        kept = shrunk_platt.SLOPE_DEVIATION, shrunk_platt.OFFSET_DEVIATION
        shrunk_platt.SLOPE_DEVIATION, shrunk_platt.OFFSET_DEVIATION = slope, offset
        pooled = pooled_sigmoid(scores_IN.ravel(), truth_IN.ravel())
        own = [
            label_sigmoid(pooled, scores_IN[:, n], truth_IN[:, n])
            for n in range(scores_IN.shape[1])
        ]
        shrunk_platt.SLOPE_DEVIATION, shrunk_platt.OFFSET_DEVIATION = kept
        return lambda other_IN: _probabilities_of(own, other_IN)

    return fit


def _probabilities_of(own: list[Sigmoid], scores_IN: Scores) -> NDArray[np.float64]:
    logits = [sigmoid.logits(scores_IN[:, n]) for n, sigmoid in enumerate(own)]
    return np.asarray(1 / (1 + np.exp(-np.stack(logits, axis=1))))


def _pooled(
    scores_IN: Scores, truth_IN: NDArray[np.int8]
) -> Callable[[Scores], NDArray[np.float64]]:
    pooled = pooled_sigmoid(scores_IN.ravel(), truth_IN.ravel())
    return lambda other_IN: np.asarray(1 / (1 + np.exp(-pooled.logits(other_IN))))


def _isotonic(positives: int) -> Fit:
    """Isotonic of all labels, blended with a label's own by its number of positives."""

    def fitted(scores: Scores, truth: NDArray[np.int8]) -> Any:
        return IsotonicRegression(out_of_bounds="clip").fit(scores.ravel(), truth.ravel())

    def fit(
        scores_IN: Scores, truth_IN: NDArray[np.int8]
    ) -> Callable[[Scores], NDArray[np.float64]]:
        pooled = fitted(scores_IN, truth_IN)
        count_N = truth_IN.sum(axis=0)
        own = [fitted(scores_IN[:, n], truth_IN[:, n]) for n in range(len(count_N))]

        def give(other_IN: Scores) -> NDArray[np.float64]:
            found_IN = pooled.predict(other_IN.ravel()).reshape(other_IN.shape)
            for n, count in enumerate(count_N):
                share = count / (count + positives)
                found_IN[:, n] += share * (own[n].predict(other_IN[:, n]) - found_IN[:, n])
            return np.asarray(found_IN)

        return give

    return fit


def _probabilities(sets: list[Scored], halves: int) -> Table:
    fits: dict[str, Fit] = {"one sigmoid for all": _pooled}
    fits |= {f"Platt, deviations {a:g} and {b:g}": _platt(a, b) for a, b in DEVIATIONS}
    fits |= {f"isotonic, blended at {n} positives": _isotonic(n) for n in (10, 30)}
    rows = []
    for name, fit in fits.items():
        row = [name]
        for found in sets:
            if found.name == SETS[2] and "isotonic" in name:
                row.append("")
                continue
            # With 1,203 labels a fit takes its time.
            some = halves if len(found.steps) and found.name != SETS[2] else min(halves, 3)
            figures = []
            for fit_I, check_I in found.halves(some):
                give = fit(found.top[fit_I], found.truth_IN[fit_I])
                truth = found.truth_IN[check_I].ravel()
                figures.append(_losses(give(found.top[check_I]).ravel(), truth))
            loss, error = np.mean(figures, axis=0)
            row.append(f"{loss:.4f} / {error:.4f}")
        rows.append(row)
    caption = (
        "Probabilities: log loss and expected calibration error of all cells (15 bins of as many)."
    )
    return Table(["fit", *SETS], rows, caption)


def _losses(probability_K: NDArray[np.float64], truth_K: NDArray[np.int8]) -> tuple[float, float]:
    """Log loss, and expected calibration error over bins of as many cells."""
    clipped_K = np.clip(probability_K, 1e-4, 1 - 1e-4)
    loss = -np.where(truth_K == 1, np.log(clipped_K), np.log1p(-clipped_K)).mean()
    order = np.argsort(probability_K)
    apart = sum(
        abs(float(probability_K[part].sum() - truth_K[part].sum()))
        for part in np.array_split(order, BINS)
    )
    return float(loss), apart / len(truth_K)


def _cuts(sets: list[Scored], halves: int) -> Table:
    rows: list[list[str]] = []
    rules = ("top 1", "top 3", "top 5", "confidence alone", "default", "calibrated")
    for rule in rules:
        row = [rule]
        for found in sets:
            some = halves if found.name != SETS[2] else min(halves, 3)
            figures = [_cut(found, rule, *half) for half in found.halves(some)]
            f1, precision, recall = np.mean(figures, axis=0)
            row.append(f"{f1:.3f} ({precision:.3f}, {recall:.3f})")
        rows.append(row)
    caption = (
        "Tags on the other half: micro F1 (precision, recall). `confidence alone` has its best "
        "threshold from the first half; `default` looks at no label; `calibrated` has the average "
        "cut of the first half's probabilities."
    )
    return Table(["tags", *SETS], rows, caption)


def _cut(found: Scored, rule: str, fit_I: NDArray[np.int64], check_I: NDArray[np.int64]) -> F1:
    scores_BN, truth_BN = found.top[check_I], found.truth_IN[check_I]
    if rule.startswith("top "):
        least_B1 = np.sort(scores_BN, axis=1)[:, -int(rule[4:]), None]
        return _f1(scores_BN >= least_B1, truth_BN)
    if rule == "calibrated":
        give = _platt(shrunk_platt.SLOPE_DEVIATION, shrunk_platt.OFFSET_DEVIATION)(
            found.top[fit_I], found.truth_IN[fit_I]
        )
        fitted = give(found.top[fit_I]).ravel()
        return _f1(
            give(scores_BN) >= best_average_cut(fitted, found.truth_IN[fit_I].ravel()), truth_BN
        )
    if rule == "confidence alone":
        cut = best_average_cut(found.top[fit_I].ravel(), found.truth_IN[fit_I].ravel())
        return _f1(scores_BN >= cut, truth_BN)
    best = confidence(found.steps[-1], torch.from_numpy(scores_BN)).topk(MOST_TAGS, dim=1)
    tags_BN = torch.zeros(scores_BN.shape, dtype=torch.bool)
    there_BK = torch.ones_like(best.values, dtype=torch.bool)
    tags_BN.scatter_(1, best.indices, stands_out(best.values, there_BK))
    return _f1(tags_BN.numpy(), truth_BN)


def _f1(tags_BN: NDArray[np.bool_], truth_BN: NDArray[np.int8]) -> F1:
    right = float((tags_BN & (truth_BN == 1)).sum())
    tags, positives = float(tags_BN.sum()), float((truth_BN == 1).sum())
    return F1(2 * right / (tags + positives), right / max(tags, 1), right / positives)


def _steps(sets: list[Scored], halves: int) -> Table:
    rows = []
    for found in sets[:2]:
        taken: list[str] = []
        gains = []
        for fit_I, check_I in found.halves(halves):
            fitted, checked = (
                {
                    step: 100
                    * mean_average_precision(
                        average_precision(scores[rows_I], found.truth_IN[rows_I])
                    )
                    for step, scores in found.scores.items()
                }
                for rows_I in (fit_I, check_I)
            )
            step = best_step(found.steps, {str(s): m for s, m in fitted.items()}, split="val").step
            taken.append(step)
            gains.append(checked[step] - checked[found.steps[-1]])
        counts = ", ".join(f"{step} {taken.count(step)}" for step in sorted(set(taken)))
        rows.append([found.name, counts, f"{np.mean(gains):+.2f}"])
    caption = "The step that ranks, by mAP on one half, and its mAP beyond the top's on the other."
    return Table(["set", "steps taken", "mAP gained"], rows, caption)


if __name__ == "__main__":
    main()
