"""What labels that are added later cost, and whether they are as good as if they had come first.

    python -m benchmarks.grown_labels --data ../shared/data/coco

Twenty labels are added to a store of sixty and of all photos; beside it lies a store that was made
with all eighty. Both are trained, the first from the run that it had. Then twenty labels are added
to a store of eighty with 100,000 vectors (those of the photos with noise): what that takes in CPU
seconds is set beside what the whole store takes, of which encoding is reckoned from the photos.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import taistore
from benchmarks.report import Table, spread, write_report
from taistore.evaluation.report import Evaluation
from taistore.label_files.label_file import read_labels
from taistore.labels import Label, LabelSet
from taistore.progress import no_progress
from taistore.project import Project
from taistore.store.arrow import vector_array, vector_column

ADDED = 20
FURTHER = (
    *("tent", "ladder", "helmet", "guitar", "camera", "piano", "castle", "bridge", "mushroom"),
    *("tractor", "windmill", "lighthouse", "squirrel", "penguin", "camel", "waterfall", "statue"),
    *("drum", "candle", "balloon"),
)
"""Twenty things that COCO has no label of."""

STEPS = ("zero_shot", "adapter_global", "ensemble")


def main() -> None:
    """Measure, write the report and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="packaged:lite0@224")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    labels = read_labels(options.data / "classes.csv")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        base = _project(work / "base", labels, options.encoder)
        cpu = time.process_time()
        base.ingest_images(options.data / "labels.jsonl", split="test")
        per_photo = (time.process_time() - cpu) / base.store.count("images")
        found = [_compared(base, options.data, work, seed) for seed in range(options.seeds)]
        cost = _cost(base, work, options.encoder, options.vectors, per_photo)
    text = (
        f"COCO photos, {options.encoder}, one thread, {options.seeds} draws of the {ADDED} labels; "
        "AP is a mean over these labels, of the same photos, with its deviation over the draws, "
        "differences with their standard error. " + " ".join(__doc__.split("\n\n")[-1].split())
    )
    rows = [
        (
            step,
            *(spread([one[step][n] for one in found]) for n in range(3)),
            *(_gained([one[step][n] - one[step][0] for one in found]) for n in (1, 2)),
        )
        for step in STEPS
    ]
    names = (
        *("from the start", "added, --from", "added, trained anew"),
        *("--from − from the start", "trained anew − from the start"),
    )
    path = write_report(
        "grown-labels",
        title="Labels that are added later",
        text=text,
        tables=[
            Table(("step", *names), rows, "AP of the labels that were added"),
            Table(("", "CPU s"), cost, f"{ADDED} labels to {options.vectors:,} vectors, 80 labels"),
        ],
    )
    print(path.read_text(encoding="utf-8"))


def _gained(differences: Sequence[float]) -> str:
    """Mean difference, with the standard error of that mean."""
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{statistics.fmean(differences):+.2f} ± {error:.2f}"


def _project(path: Path, labels: Sequence[Label], encoder: str) -> Project:
    return taistore.create(
        path, labels=LabelSet(labels), encoder=encoder, progress=no_progress, note=lambda line: None
    )


def _compared(base: Project, data: Path, work: Path, seed: int) -> dict[str, list[float]]:
    """By step: AP of the labels that are added, where they came first, and later in two ways."""
    order = np.random.default_rng(seed).permutation(len(base.labels)).tolist()
    first, added = ([base.labels[n] for n in part] for part in (order[ADDED:], order[:ADDED]))
    manifest, keys = data / "labels.jsonl", [label.key for label in added]
    whole = _with_photos(base, work / f"whole-{seed}", [*first, *added], manifest)
    whole.generate_texts(seed=seed)
    grown = _with_photos(base, work / f"grown-{seed}", first, manifest)
    grown.generate_texts(seed=seed)
    grown.train("zsl", seed=seed)
    grown.add_labels(LabelSet(added))
    grown.ingest_images(manifest, split="test")
    grown.generate_texts(seed=seed)
    figures = [
        run.evaluate(split="test")
        for run in (
            whole.train("zsl", seed=seed),
            grown.train("zsl", seed=seed, from_run="latest"),
            grown.train("zsl", seed=seed),
        )
    ]
    return {step: [_precision(one, keys, step) for one in figures] for step in STEPS}


def _with_photos(base: Project, path: Path, labels: Sequence[Label], manifest: Path) -> Project:
    """A store of these labels with the photos of another, which are not encoded again."""
    made = _project(path, labels, base.store.default_encoder)
    encoder_id = base.encoder_info().encoder_id
    made.store.register_encoder(base.encoder_info())
    for kind in ("image_vectors", "region_vectors"):
        for batch in base.store.scan(kind, encoder_id=encoder_id):
            made.store.append(kind, batch.to_pylist(), encoder_id=encoder_id)
    made.ingest_images(manifest, split="test")
    return made


def _precision(found: Evaluation, keys: Sequence[str], step: str) -> float:
    of = [one.average_precision[step] for one in found.labels if one.key in set(keys)]
    return 100 * float(np.nanmean(of))


def _cost(
    base: Project, work: Path, encoder: str, count: int, per_photo: float
) -> list[tuple[str, str]]:
    """What each part takes; the last row is the share of the whole."""
    large = _project(work / "large", list(base.labels), encoder)
    _many_vectors(base, large, count)
    large.generate_texts()
    large.train("zsl")
    more = LabelSet(Label(name, name) for name in FURTHER)
    steps = {
        "add the labels": _timed(lambda: large.add_labels(more)),
        "write captions": _timed(large.generate_texts),
        "train --from": _timed(lambda: large.train("zsl", from_run="latest")),
    }
    anew = _project(work / "anew", [*base.labels, *more], encoder)
    _many_vectors(base, anew, count)
    whole = {
        f"encode {count:,} photos with regions (reckoned)": per_photo * count,
        "write all captions": _timed(anew.generate_texts),
        "train anew": _timed(lambda: anew.train("zsl")),
    }
    share = sum(steps.values()) / sum(whole.values())
    return [
        *((name, f"{seconds:,.1f}") for name, seconds in (steps | whole).items()),
        ("adding them beside making it anew", f"{share:.1%}"),
    ]


def _many_vectors(base: Project, project: Project, count: int) -> None:
    """Vectors of the photos with noise, under ids of photos that nobody took."""
    info = base.encoder_info()
    batches = base.store.scan("image_vectors", encoder_id=info.encoder_id)
    vectors = np.concatenate([vector_array(b.column("vector")) for b in batches]).astype(np.float32)
    project.store.register_encoder(info)
    random, deviation = np.random.default_rng(0), 0.3 * vectors.std()
    for low in range(0, count, 10_000):
        ids = [f"{n * 0x9E3779B97F4A7C15F39CC060 % 2**128:032x}" for n in range(low, low + 10_000)]
        drawn = vectors[random.integers(len(vectors), size=len(ids))]
        noisy = drawn + deviation * random.standard_normal(drawn.shape, dtype=np.float32)
        project.store.append(
            "image_vectors",
            {"image_id": ids, "vector": vector_column(noisy)},
            encoder_id=info.encoder_id,
        )
        row = {"width": 4, "height": 4, "positives": [], "negatives": [], "complete": False}
        more = {"combination_id": None, "split": "train", "other_uris": None, "covered": 0}
        rows = [{"image_id": i, "uri": f"/{i}.jpg", **row, **more} for i in ids]
        project.store.append("images", rows)


def _timed(job: Callable[[], object]) -> float:
    cpu = time.process_time()
    job()
    return time.process_time() - cpu


if __name__ == "__main__":
    main()
