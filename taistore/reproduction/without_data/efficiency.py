"""Table 4 of arXiv:2312.04160: weights and operations of TaI-DPT and TaI-Adapter, counted.

Counted are the architectures themselves, CLIP RN50 as open_clip builds it and our adapter network;
no data, weights or accelerator are needed.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape, build_network
from taistore.encoders.open_clip.architecture import META, shapes_of
from taistore.encoders.open_clip.catalogue import native_resolution
from taistore.reproduction.without_data.network_cost import Cost, full_cost, layer_cost, weights

NAME = "table4"
TITLE = "Table 4, efficiency: weights and operations with the 80 labels of MS-COCO"
MODEL = "RN50"
LABELS = 80
PROMPTS = 2 * LABELS
"""Texts that TaI-DPT's tower reads: a global and a local prompt a label."""

CONTEXT = 16
"""Learnt tokens of each of TaI-DPT's two contexts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phases:
    """What a system costs for one text in training and for one image in inference."""

    training: Cost
    inference: Cost

    def cells(self) -> dict[str, str]:
        """As Table 4 prints them, by column: 50.4M, 624G."""
        return {
            f"{phase} {unit}": _short(getattr(getattr(self, phase), field), scale, letter)
            for phase in ("training", "inference")
            for field, unit, scale, letter in _UNITS
        }


_UNITS = (("parameters", "#param.", 10**6, "M"), ("flops", "FLOPs", 10**9, "G"))

PUBLISHED: Mapping[str, Phases] = {
    "TaI-DPT": Phases(
        training=Cost(parameters=50_400_000, flops=624 * 10**9),
        inference=Cost(parameters=97_400_000, flops=631 * 10**9),
    ),
    "TaI-Adapter": Phases(
        training=Cost(parameters=35_900_000, flops=4_000_000_000),
        inference=Cost(parameters=34_200_000, flops=10_900_000_000),
    ),
}
"""Table 4."""

AS_PRINTED, COMPLETE, STORED = "as-printed", "complete", "stored"

RULES = {
    AS_PRINTED: "the paper names no rule; by this one all its figures but one come out: linear "
    "maps, convolutions, batch norms (4 multiply-adds a value), average pools that are called as "
    "layers, so no embedding, no layer norm and nothing inside attention; TaI-DPT's weights twice",
    COMPLETE: "every weight that a pass needs, once; all its matrix products and convolutions",
    STORED: "complete, of what taistore does: vectors of training texts are stored, and a finished "
    "prompt learner is two vectors a label",
}
"""How the rows of ours are counted."""

REMARKS = (
    "a multiply-add is two operations; one forward pass of one text (training) or one image of "
    "224 pixels (inference); gradients, losses, cosines and noise are not counted",
    "a batch shares TaI-DPT's 160 prompts, so that a text of many costs less than its figure",
    "TaI-DPT's figures at inference are of reading all prompts again for every image",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedRow:
    """A system as one of :data:`RULES` counts it."""

    method: str
    rule: str
    phases: Phases


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """Table 4 with our counts. ``hidden`` is the width of the adapter's layers."""

    hidden: int
    rows: tuple[CountedRow, ...]

    @property
    def deviations(self) -> tuple[str, ...]:
        """Figures of the paper that its rule does not give, a line each."""
        return tuple(
            f"{row.method}, {column}: {ours} here, {theirs} in the paper"
            for row in self.rows
            if row.rule == AS_PRINTED
            for (column, ours), theirs in zip(
                row.phases.cells().items(), PUBLISHED[row.method].cells().values(), strict=True
            )
            if ours != theirs
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: numbers of weights and operations."""
        return {
            "table": NAME,
            "title": TITLE,
            "model": MODEL,
            "labels": LABELS,
            "hidden": self.hidden,
            "rules": dict(RULES),
            "paper": {name: dataclasses.asdict(phases) for name, phases in PUBLISHED.items()},
            "here": [
                {"method": row.method, "rule": row.rule, **dataclasses.asdict(row.phases)}
                for row in self.rows
            ],
            "remarks": list(REMARKS),
            "deviations": list(self.deviations),
        }

    def text(self) -> str:
        """The table for people: each system's printed figures, then ours."""
        lines = [
            TITLE,
            f"CLIP {MODEL} as open_clip builds it; adapter of three layers of {self.hidden:,}",
            "",
            _line("", list(next(iter(PUBLISHED.values())).cells())),
        ]
        for name, phases in PUBLISHED.items():
            lines.append(_line(f"paper: {name}", list(phases.cells().values())))
            lines += [
                _line(f"here:  {name}, {row.rule}", list(row.phases.cells().values()))
                for row in self.rows
                if row.method == name
            ]
        for title, found in (
            ("how it is counted", (*(f"{name}: {rule}" for name, rule in RULES.items()), *REMARKS)),
            ("where this differs from the paper", self.deviations),
        ):
            lines += ["", f"{title}:", *(f"  - {line}" for line in found)] if found else []
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """The text tower on one text, the image tower on one image, the adapter on one vector."""

    text: Cost
    image: Cost
    adapter: Cost

    def dpt(self) -> Phases:
        return Phases(
            training=self.text.times(1 + PROMPTS), inference=self.text.times(PROMPTS) + self.image
        )

    def taistore_adapter(self) -> Phases:
        return Phases(training=self.text + self.adapter, inference=self.image + self.adapter)


def count_efficiency() -> Efficiency:
    """Count both systems; takes seconds and no memory to speak of, as no tensor holds a number."""
    clip = shapes_of(MODEL)
    hidden = TrainConfig.paper().hidden
    width, dim = clip.text_projection.shape
    layers, complete = _measure(clip, dim=dim, hidden=hidden)
    rows = _rows(layers, complete, width=width, dim=dim)
    return Efficiency(hidden=hidden, rows=tuple(rows))


def _measure(clip: Any, *, dim: int, hidden: int) -> tuple[_Parts, _Parts]:
    """The parts of both systems by layers, and complete."""
    shape = NetworkShape(network="paper", dim=dim, labels=LABELS, hidden=hidden, dropout=0.0)
    with META:
        adapter = build_network(shape)
        text = torch.zeros(1, clip.context_length, dtype=torch.long)
        image = torch.zeros(1, 3, *[native_resolution(MODEL)] * 2)
        vector = torch.zeros(1, dim)
    runs = {
        "text": (clip, lambda: clip.encode_text(text)),
        "image": (clip, lambda: clip.encode_image(image)),
        "adapter": (adapter, lambda: adapter(vector)),
    }
    visual = weights(clip.visual)
    held = {
        # What is no part of the image tower, but for the scale of cosines.
        "text": weights(clip) - visual - clip.logit_scale.numel(),
        "image": visual,
        "adapter": weights(adapter),
    }
    return (
        _Parts(**{part: layer_cost(network, run) for part, (network, run) in runs.items()}),
        _Parts(**{part: full_cost(held[part], run) for part, (_, run) in runs.items()}),
    )


def _rows(layers: _Parts, complete: _Parts, *, width: int, dim: int) -> Iterator[CountedRow]:
    printed = layers.dpt()
    contexts = Cost(parameters=2 * CONTEXT * width, flops=0)
    label_vectors = Cost(parameters=PROMPTS * dim, flops=0)
    dpt = {
        AS_PRINTED: Phases(training=_twice(printed.training), inference=_twice(printed.inference)),
        COMPLETE: Phases(
            training=complete.dpt().training + contexts,
            inference=complete.dpt().inference + contexts,
        ),
        STORED: Phases(
            training=complete.text.times(PROMPTS) + contexts,
            inference=complete.image + label_vectors,
        ),
    }
    ours = complete.taistore_adapter()
    adapter = {
        AS_PRINTED: layers.taistore_adapter(),
        COMPLETE: ours,
        STORED: dataclasses.replace(ours, training=complete.adapter),
    }
    for method, counted in (("TaI-DPT", dpt), ("TaI-Adapter", adapter)):
        for rule, phases in counted.items():
            yield CountedRow(method=method, rule=rule, phases=phases)


def _twice(cost: Cost) -> Cost:
    return dataclasses.replace(cost, parameters=2 * cost.parameters)


def _short(value: int, scale: int, letter: str) -> str:
    """As the paper prints figures: 624G, 50.4M; what would be 0.0 has a digit more."""
    scaled = value / scale
    digits = 0 if scaled >= 100 else 1 if scaled >= 1 else 2
    return f"{scaled:.{digits}f}{letter}"


def _line(name: str, cells: list[str]) -> str:
    return f"  {name:34}" + "".join(f"{cell:>19}" for cell in cells)
