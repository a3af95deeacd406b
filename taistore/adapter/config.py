"""The configuration of a training: validated once, written to the card as plain JSON."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from taistore.adapter.network import NETWORKS
from taistore.errors import TrainingError
from taistore.geometry.expected_places import PSEUDO_COUNTS
from taistore.geometry.perturbation import AUTO_RADIUS, PLACES, resolve_radius

TASKS = ("zsl", "fsl", "pll")
LEARN_FROM = ("texts", "images", "both")
SHIFTS = ("none", "plain", "shrunk", "neighbours")

ALL_IMAGES = "all"
"""As a split: every image of the store."""

_AUTO = {
    "zsl": {"learn_from": "texts", "shift": "none", "split": ALL_IMAGES},
    "fsl": {"learn_from": "both", "shift": "neighbours", "split": "train"},
    "pll": {"learn_from": "both", "shift": "neighbours", "split": "train"},
}
"""What ``auto`` means in each task."""

_PAPER = {
    "fsl": {"learn_from": "both", "shift": "none"},
    "pll": {"learn_from": "texts", "shift": "plain"},
}

SHIFTED_RADIUS = {"zsl": 1.25, "fsl": 1.0, "pll": 1.0}
"""``auto`` after a shift, in multiples of the mean text norm: the paper's 10 at a norm of 10. By
neighbours alone texts land less exactly, which more noise forgives."""

IMAGE_RADIUS = 1.0
"""``auto`` around image vectors, in multiples of their mean norm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How an adapter is trained. The defaults are the best we measured; see docs/log.md.

    ``radius`` is ``auto``, a multiple of the mean text norm (``"2.5x"``) or a number in the unit
    of the vectors. ``where`` is ``surface`` or ``interior``. ``lr`` is the top of the 1-cycle.
    ``hidden`` is the width of the fully connected layers; at 0 the residual network has none.

    ``split`` names the images that are used, ``all`` every one: unlabelled to ``zsl``, which reads
    none unless ``shift`` is ``neighbours``; ``fsl`` takes ``shots`` images per label, drawn by
    ``shot_seed``; ``pll`` the share ``known`` of the known cells, drawn by ``mask_seed`` (1 is all
    that the store knows). ``learn_from`` says what enters the loss, ``shift`` where the texts are
    moved: ``plain`` is Eq. 9-10, ``shrunk`` towards the common gap with ``pseudo_counts``,
    ``neighbours`` on from there to the ``neighbours`` images nearest to each label's texts (0: one
    in 25 images, 20 to 100). A step takes ``batch`` texts and ``image_batch`` images; the images
    are perturbed with ``image_radius`` and their loss is weighted with ``image_weight``.

    ``text_weights`` says what a text counts in the loss by its writer, such as ``{"openai": 3}`` or
    ``"openai=3,captions=0.5"``, kept in the second form; others count 1, and those at 0 are left
    out. The mean is made 1, so that the loss stays as large.

    Raises :class:`TrainingError` naming a field, its value and what is allowed.
    """

    task: str = "zsl"
    network: str = "residual"
    hidden: int = 0
    dropout: float = 0.5
    epochs: int = 20
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    radius: str | float = "auto"
    where: str = "surface"
    seed: int = 0
    device: str = "auto"
    split: str = "auto"
    shots: int = 0
    shot_seed: int = 0
    known: float = 1.0
    mask_seed: int = 0
    learn_from: str = "auto"
    shift: str = "auto"
    pseudo_counts: float = PSEUDO_COUNTS
    neighbours: int = 0
    image_radius: str | float = "auto"
    image_batch: int = 64
    image_weight: float = 1.0
    text_weights: str | Mapping[str, float] = ""

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        for name, value in _AUTO[self.task].items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, value)
        _one_of("network", self.network, NETWORKS)
        _one_of("where", self.where, PLACES)
        _one_of("learn_from", self.learn_from, LEARN_FROM)
        _one_of("shift", self.shift, SHIFTS)
        for name in ("epochs", "batch", "image_batch"):
            _whole(name, getattr(self, name), low=1)
        _whole("hidden", self.hidden, low=1 if self.network == "paper" else 0)
        for name in ("seed", "shot_seed", "mask_seed", "shots", "neighbours"):
            _whole(name, getattr(self, name), low=0)
        _number("dropout", self.dropout, "at least 0 and below 1", 0 <= self.dropout < 1)
        _number("lr", self.lr, "above 0", self.lr > 0)
        _number("weight_decay", self.weight_decay, "at least 0", self.weight_decay >= 0)
        _number("known", self.known, "above 0 and at most 1", 0 < self.known <= 1)
        _number("pseudo_counts", self.pseudo_counts, "at least 0", self.pseudo_counts >= 0)
        _number("image_weight", self.image_weight, "above 0", self.image_weight > 0)
        weights = _writer_weights(self.text_weights)
        canonical = ",".join(f"{name}={weights[name]:g}" for name in sorted(weights))
        object.__setattr__(self, "text_weights", canonical)
        self._check_task()
        self.text_radius(1.0)
        self.image_radius_at(1.0)

    def _check_task(self) -> None:
        """Refuse settings that the task would silently ignore."""
        if self.task == "zsl":
            _one_of("task zsl with learn_from", self.learn_from, ("texts",))
            _one_of("task zsl with shift", self.shift, ("none", "neighbours"))
        if self.task != "fsl" and self.shots:
            raise TrainingError(
                f"shots {self.shots} is for task fsl, not {self.task}: leave it out"
            )
        if self.task == "fsl" and not self.shots:
            raise TrainingError("task fsl needs shots, such as 1, 2, 4, 8 or 16 images per label")
        if self.task != "pll" and self.known != 1:
            raise TrainingError(
                f"known {self.known:g} is for task pll, not {self.task}: leave it out"
            )

    @property
    def writer_weights(self) -> dict[str, float]:
        """What a text counts, by writer; empty where all count the same."""
        return _writer_weights(self.text_weights)

    @property
    def uses_images(self) -> bool:
        """Whether labelled images are read: for the loss, for the shift or for both."""
        return self.learn_from != "texts" or self.shift != "none"

    def text_radius(self, mean_norm: float) -> float:
        """The radius around texts, in their unit; ``auto`` is smaller after a shift."""
        auto = AUTO_RADIUS if self.shift == "none" else SHIFTED_RADIUS[self.task]
        return resolve_radius(self.radius, mean_norm, auto=auto)

    def image_radius_at(self, mean_norm: float) -> float:
        """The radius around image vectors of this mean norm, in their unit."""
        return resolve_radius(self.image_radius, mean_norm, auto=IMAGE_RADIUS, name="image_radius")

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The paper's setting (4.1 of arXiv:2312.04160), with ``changes``.

        Its plain network, 60 epochs, batch 64, 1-cycle up to 1e-4; radius 25, after a shift 10
        and for images 1, all for CLIP RN50's norm of 10. ``pll`` learns from plainly shifted
        texts alone, ``fsl`` from unshifted texts and images. The paper leaves width and dropout
        open: 512, which trains on 10,000 texts in about a CPU minute, and 0.5.
        """
        values: dict[str, Any] = {
            "network": "paper",
            "hidden": 512,
            "dropout": 0.5,
            "epochs": 60,
            "batch": 64,
            "lr": 1e-4,
            "image_radius": "0.1x",
            **_PAPER.get(str(changes.get("task")), {}),
        }
        return cls(**(values | changes))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises :class:`TrainingError` on a field that does not exist."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise TrainingError(
                f"the configuration holds the unknown field {min(unknown)!r}: it was written by "
                "another version of taistore"
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TrainingError(f"{name} {value!r} is not allowed: give one of {', '.join(allowed)}")


def _whole(name: str, value: object, *, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise TrainingError(f"{name} {value!r} is not allowed: give a whole number from {low} on")


def _number(name: str, value: float, allowed: str, fits: bool) -> None:
    if not (fits and math.isfinite(value)):
        raise TrainingError(f"{name} {value!r} is not allowed: give a number {allowed}")


def _writer_weights(given: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        named = {name.strip(): value.strip() for name, _, value in pairs}
    else:
        pairs, named = [], {str(name): str(value) for name, value in given.items()}
    weights: dict[str, float] = {}
    for name, value in named.items():
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = math.nan
        if not name or not (0 <= weights[name] < math.inf):
            raise TrainingError(
                f"text_weights {given!r} is not allowed: give writers with a number from 0 on, "
                "such as openai=3,template=1"
            )
    if len(pairs) > len(named):
        raise TrainingError(f"text_weights {given!r} names a writer twice: name each once")
    return weights
