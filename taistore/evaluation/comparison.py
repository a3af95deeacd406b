"""Is one run better than another? Both on the same images, with a paired bootstrap.

Every resample draws the same images for both runs, so that what is easy or hard for both cancels
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from taistore.adapter.run_files.kept.run_labels import seen_by_run
from taistore.errors import ScoringError
from taistore.evaluation.bootstrap import LEVEL
from taistore.evaluation.drawing import shown
from taistore.evaluation.evaluate import chosen_scope, needs_negatives
from taistore.evaluation.labelled_scores import Scope, images_of, labelled_split
from taistore.evaluation.paired_figures import Difference, PairedFigures
from taistore.evaluation.protocols import Protocol
from taistore.evaluation.report import NO_PHOTOS, SHOWN_LABELS, kind_of_images
from taistore.evaluation.split_figures import filled_block
from taistore.labels import Label
from taistore.progress import Progress, no_progress
from taistore.store.store import Store

SAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelDifference:
    """One label: known positives, and the difference of its AP."""

    key: str
    name: str
    positives: int
    precision: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs on the same images; ``labels`` compare the step ``top``.

    ``split`` is None where the images are synthetic ones.
    ``left_out`` images have a vector of one of two encoders only.
    """

    runs: tuple[str, str]
    split: str | None
    images: int
    left_out: int
    samples: int
    seed: int
    top: str
    steps: dict[str, Difference]
    labels: tuple[LabelDifference, ...]
    protocol: Protocol | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of ``compare --json``: percent, two decimals."""
        return {
            "runs": list(self.runs),
            "kind": kind_of_images(self.split),
            "split": self.split,
            "images": self.images,
            "images_left_out": self.left_out,
            "bootstrap": {"samples": self.samples, "seed": self.seed, "level": 100 * LEVEL},
            "steps": {step: found.to_json() for step, found in self.steps.items()},
            "labels_step": self.top,
            "labels": [
                {
                    "key": label.key,
                    "name": label.name,
                    "positives": label.positives,
                    **label.precision.to_json(),
                }
                for label in self.labels
            ],
            **({"protocol": self.protocol.to_json()} if self.protocol else {}),
        }

    def frame(self) -> pl.DataFrame:
        """One row a label: its AP in both runs and the difference with its interval, as fractions.

        ``p`` is the difference's; null where a label has no positive.
        """
        rows = [
            {
                "label_key": label.key,
                "label_name": label.name,
                "positives": label.positives,
                "first": label.precision.first,
                "second": label.precision.second,
                "difference": label.precision.value,
                "low": label.precision.low,
                "high": label.precision.high,
                "p": label.precision.p,
            }
            for label in self.labels
        ]
        return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))

    def table(self) -> str:
        """The steps' differences, and the labels that gain and lose most."""
        lines = [self.protocol.text(), ""] if self.protocol else []
        lines += [
            f"first   {self.runs[0]}",
            f"second  {self.runs[1]}",
            f"{self.images:,} {images_of(self.split)}{NO_PHOTOS if self.split is None else ''}, "
            f"{self.samples:,} paired resamples (seed {self.seed}); mAP in percent, second minus "
            "first",
        ]
        if self.left_out:
            lines.append(f"{self.left_out:,} images left out: no vector of one of the encoders")
        lines.append(
            f"\n{'step':16}{'first':>7}{'second':>8}{'difference':>12}"
            f"{f'{100 * LEVEL:.0f} % interval':>20}{'p':>9}"
        )
        for step, found in self.steps.items():
            between = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
            lines.append(
                f"{step:16}{100 * found.first:7.1f}{100 * found.second:8.1f}"
                f"{100 * found.value:+12.2f}{between:>20}{found.p:9.4f}"
            )
        return "\n".join([*lines, *self._label_lines()])

    def _label_lines(self) -> list[str]:
        known = [label for label in self.labels if label.positives]
        ranked = sorted(known, key=lambda label: -label.precision.value)
        count = min(SHOWN_LABELS, len(ranked) // 2)
        lines = []
        for title, labels in (("gain", ranked[:count]), ("lose", ranked[: -count - 1 : -1])):
            lines += [f"\nlabels that {title} most ({self.top})"] if count else []
            lines += [
                f"  {shown(label.name, 30):30} {100 * label.precision.value:+6.1f}   "
                f"{100 * label.precision.low:+.1f} to {100 * label.precision.high:+.1f}   "
                f"({label.positives:,} {'image' if label.positives == 1 else 'images'})"
                for label in labels
            ]
        return lines


def compare(
    store: Store,
    runs: tuple[str, str],
    *,
    split: str | None = None,
    synthetic: bool = False,
    protocol: Protocol | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Comparison:
    """mAP of every step that both ``runs`` have, and each label's AP, with paired intervals.

    The runs may be of different encoders: then images that have vectors of both take part; and of
    different labels: then those of both are compared. Raises :class:`ScoringError` where the runs
    are one or share no image or no label, and what
    :func:`~taistore.evaluation.evaluate.evaluate` raises.
    """
    ids = (store.run(runs[0]).run_id, store.run(runs[1]).run_id)
    if ids[0] == ids[1]:
        raise ScoringError(f"{ids[0]} is compared with itself: name two different runs")
    stores = [seen_by_run(store, store.run(i)) for i in ids]
    scopes = [chosen_scope(one, split, protocol, synthetic=synthetic) for one in stores]
    shared = _shared(
        scopes, [scope.labels(one.labels) for one, scope in zip(stores, scopes, strict=True)]
    )
    scope = shared[0]
    first, second = (
        labelled_split(store, i, scope, device=device) for i, scope in zip(ids, shared, strict=True)
    )
    paired = PairedFigures(first, second, samples=samples, seed=seed)
    counting = needs_negatives(protocol)
    for block in paired.blocks():
        # No name for what is filled, which would be held while the next block is.
        paired.add(
            *(
                filled_block(side, block, needs_negatives=counting, progress=progress)
                for side in (first, second)
            ),
            progress=progress,
        )
    return Comparison(
        runs=ids,
        split=scope.split,
        images=paired.images,
        left_out=paired.left_out,
        samples=samples,
        seed=seed,
        top=paired.steps[-1],
        steps={str(step): paired.difference(step) for step in paired.steps},
        labels=tuple(
            LabelDifference(key=label.key, name=label.name, positives=positives, precision=found)
            for label, positives, found in zip(
                scope.labels(stores[0].labels), paired.positives, paired.labels, strict=True
            )
        ),
        protocol=protocol,
    )


def _shared(scopes: Sequence[Scope], labels: Sequence[Sequence[Label]]) -> list[Scope]:
    """The scopes of both runs, with the labels that both have, in one order."""
    keys = [[label.key for label in of_run] for of_run in labels]
    if keys[0] == keys[1]:
        return list(scopes)
    common = [key for key in keys[0] if key in set(keys[1])]
    if not common:
        raise ScoringError("the runs have no label in common: compare runs of the same labels")
    found = []
    for scope, of_run in zip(scopes, keys, strict=True):
        place = {key: n for n, key in enumerate(of_run)}
        chosen = np.array([place[key] for key in common], dtype=np.int64)
        ids = chosen if scope.label_ids is None else scope.label_ids[chosen]
        found.append(replace(scope, label_ids=ids))
    return found
