"""The configuration of a training: validated once, written to the card as plain JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from taistore.adapter.loss import LOSSES, Loss
from taistore.adapter.network import NETWORKS, START_DEVIATION, Network
from taistore.adapter.settings.auto_settings import AUTO_BY_TASK
from taistore.adapter.settings.idle_settings import idle_settings
from taistore.adapter.settings.papers_settings import (
    IMAGE_RADIUS_RN50,
    PAPERS_NETWORKS,
    RADIUS_RN50,
    SHIFTED_RADIUS_RN50,
    papers_settings,
)
from taistore.adapter.settings.recorded_settings import read_settings, upgraded
from taistore.adapter.settings.setting_checks import number, one_of, text, whole, writer_weights_of
from taistore.errors import TrainingError
from taistore.geometry.expected_places import PSEUDO_COUNTS
from taistore.geometry.neighbours import KINDS, Kind
from taistore.geometry.perturbation import AUTO_RADIUS, PLACES, Where, resolve_radius

Task = Literal["zsl", "fsl", "pll"]
LearnFrom = Literal["texts", "images", "both", "synthetic", "texts+synthetic"]
ShiftKind = Literal["none", "plain", "neighbours", "synthetic"]
Auto = Literal["auto"]

TASKS: tuple[Task, ...] = get_args(Task)
LEARN_FROM: tuple[LearnFrom, ...] = get_args(LearnFrom)
SYNTHETIC: tuple[LearnFrom, ...] = ("synthetic", "texts+synthetic")
"""Of these, those that take images made from the store's texts into the loss."""

SHIFTS: tuple[ShiftKind, ...] = get_args(ShiftKind)

SHIFTED_RADIUS: Mapping[Task, float] = {"zsl": 1.25, "fsl": 1.0, "pll": 1.0}
"""``auto`` after a shift, in multiples of the mean text norm: the paper's 10 at a norm of 10. By
neighbours alone texts land less exactly, which more noise forgives."""

IMAGE_RADIUS: Mapping[Network, float] = {"residual": 1.0, "paper": 0.1, "small": 0.1}
"""``auto`` around image vectors, in multiples of their mean norm."""

SYNTHETIC_RADIUS: Mapping[Network, float] = {**IMAGE_RADIUS, "residual": AUTO_RADIUS}
"""The same around synthetic images: the residual network takes as much as around texts."""


SAMPLED_FROM = 1000
"""Labels up to which ``auto`` takes them all in every step."""

SAMPLED_LABELS = 80
"""What ``auto`` takes of more: as many as COCO has."""

BATCH, TOP_RATE = 128, 1e-3
"""Texts of a step and the top of the 1-cycle, where they are ``auto``."""

SAMPLED_BATCH, SAMPLED_TOP_RATE = 1024, 2e-3
"""The same where a step takes a sample of the labels and learns from texts alone: rows of labels
are fetched once for more texts, to the same mAP (docs/log.md)."""


def auto_radius(task: Task, shift: ShiftKind) -> str:
    """What the radius ``auto`` comes to: less after a shift.

    >>> auto_radius("zsl", "none"), auto_radius("pll", "plain")
    ('2.5x', '1x')
    """
    return f"{AUTO_RADIUS if shift == 'none' else SHIFTED_RADIUS[task]:g}x"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How an adapter is trained. The defaults are the best we measured; see docs/log.md.

    ``radius`` is ``auto``, a multiple of the mean text norm (``"2.5x"``) or a number in the unit
    of the vectors. ``where`` is ``surface`` or ``interior``. ``lr`` is the top of the 1-cycle.
    ``hidden`` is the width of the hidden layers, ``dropout`` what each drops of its values; at 0
    the residual network has none. Its first logits have the deviation ``start_deviation``.

    ``split`` names the images that are used, ``all`` every one: unlabelled to ``zsl``, which reads
    none unless ``shift`` is ``neighbours``; ``fsl`` takes ``shots`` images per label, drawn by
    ``shot_seed``; ``pll`` the share ``known`` of the known cells, drawn by ``mask_seed`` (1 is all
    that the store knows). ``learn_from`` says what enters the loss, ``shift`` where the texts are
    moved: ``plain`` is Eq. 9-10 of arXiv:2312.04160, ``neighbours`` shrinks each label's place,
    with ``pseudo_counts``, towards where its images are expected; ``synthetic`` is the plain form
    by the images made from the label's texts. Where ``neighbours`` expects images lies
    ``neighbour_share`` of the way from the common gap to the ``neighbours`` images nearest to the
    label's texts (0: one in 25 images, 20 to 100), which are looked up in ``neighbour_rounds``
    rounds; ``neighbour_index`` finds them: ``torch`` and ``faiss`` exactly, ``ivf`` nearly. A step
    takes ``batch`` texts and ``image_batch`` images; the images are perturbed with
    ``image_radius``, on that sphere or inside it (``image_where``, ``auto``: inside for the
    paper's networks, Eq. 6). ``zsl`` learns from ``texts``, from ``synthetic`` images (made from
    the store's texts, whose labels are theirs; the texts then only set the start and the length of
    an epoch) or from ``texts+synthetic``, a batch of each a step: what is said of images then holds
    for these.

    ``loss`` is binary cross-entropy over known cells, each counting the same, or ``partial-bce``,
    which weighs an image by the share of its labels that is known
    (:func:`taistore.adapter.loss.partial_bce_weights`).

    ``text_weights`` says what a text counts in the loss by its writer, such as ``{"openai": 3}`` or
    ``"openai=3,captions=0.5"``, kept in the second form; others count 1, and those at 0 are left
    out. The mean is made 1, so that the loss stays as large.

    ``sampled_labels`` is how many labels a step takes as negatives, drawn anew for each, of which
    each then counts for more, so that the gradient is the same on average; 0 takes all of them.
    ``auto`` takes all up to 1,000 labels and a sample of more (:data:`SAMPLED_LABELS`).
    ``batch`` and ``lr`` are 128 and 1e-3 where they are ``auto``, 1,024 and 2e-3 where a step takes
    such a sample and learns from texts alone.

    ``from_run`` is the id of a run whose labels keep the weights that they have there; others
    start as zero-shot.

    What is ``auto`` is written out by task here, but for ``shift`` of ``zsl``, ``radius`` and those
    of images: they depend on the store and are written out when a training begins, see
    :meth:`settled`.

    Raises :class:`TrainingError` naming a field, its value and what is allowed; also where a value
    would change nothing, such as ``shots`` for ``zsl``.
    """

    task: Task = "zsl"
    network: Network = "residual"
    hidden: int = 0
    dropout: float = 0.5
    start_deviation: float = START_DEVIATION
    epochs: int = 20
    batch: int | Auto = "auto"
    lr: float | Auto = "auto"
    weight_decay: float = 0.01
    radius: str | float = "auto"
    where: Where = "surface"
    seed: int = 0
    device: str = "auto"
    split: str = "auto"
    shots: int = 0
    shot_seed: int = 0
    known: float = 1.0
    mask_seed: int = 0
    learn_from: LearnFrom | Auto = "auto"
    shift: ShiftKind | Auto = "auto"
    pseudo_counts: float = PSEUDO_COUNTS
    neighbours: int = 0
    neighbour_rounds: int | Auto = "auto"
    neighbour_share: float | Auto = "auto"
    neighbour_index: Kind = "auto"
    image_radius: str | float = "auto"
    image_batch: int = 64
    image_where: Where | Auto = "auto"
    text_weights: str | Mapping[str, float] = ""
    loss: Loss = "bce"
    sampled_labels: int | Auto = "auto"
    from_run: str = ""

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        for name, value in AUTO_BY_TASK[self.task].items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, value)
        one_of("network", self.network, NETWORKS)
        one_of("where", self.where, PLACES)
        one_of("neighbour_index", self.neighbour_index, KINDS)
        one_of("image_where", self.image_where, ("auto", *PLACES))
        one_of("learn_from", self.learn_from, LEARN_FROM)
        one_of("method adapter with loss", self.loss, LOSSES)
        one_of("shift", self.shift, ("auto", *SHIFTS))
        self._check_numbers()
        text("from_run", self.from_run)
        weights = writer_weights_of(self.text_weights)
        canonical = ",".join(f"{name}={weights[name]:g}" for name in sorted(weights))
        object.__setattr__(self, "text_weights", canonical)
        self._check_task()
        self.text_radius(1.0)
        self.image_radius_at(1.0)

    def _check_numbers(self) -> None:
        for name in ("epochs", "image_batch"):
            whole(name, getattr(self, name), low=1)
        if self.batch != "auto":
            whole("batch", self.batch, low=1)
        whole("hidden", self.hidden, low=0 if self.network == "residual" else 1)
        for name in ("seed", "shot_seed", "mask_seed", "shots", "neighbours", "neighbour_rounds"):
            whole(name, getattr(self, name), low=0)
        if self.sampled_labels != "auto":
            whole("sampled_labels", self.sampled_labels, low=0)
        number("dropout", self.dropout, "at least 0 and below 1", lambda v: 0 <= v < 1)
        number("start_deviation", self.start_deviation, "above 0", lambda v: v > 0)
        if self.lr != "auto":
            number("lr", self.lr, "above 0", lambda v: v > 0)
        number("weight_decay", self.weight_decay, "at least 0", lambda v: v >= 0)
        number("known", self.known, "above 0 and at most 1", lambda v: 0 < v <= 1)
        number("pseudo_counts", self.pseudo_counts, "at least 0", lambda v: v >= 0)
        number("neighbour_share", self.neighbour_share, "from 0 to 1", lambda v: 0 <= v <= 1)

    def _check_task(self) -> None:
        """Refuse settings that the task would silently ignore."""
        if self.task == "zsl":
            one_of("task zsl with learn_from", self.learn_from, ("texts", *SYNTHETIC))
            one_of("task zsl with shift", self.shift, ("auto", "none", "neighbours", "synthetic"))
        elif self.uses_synthetic:
            raise TrainingError(
                f"synthetic images are for task zsl, not {self.task}: give learn_from texts, "
                "images or both, and shift none, plain or neighbours"
            )
        if self.task == "fsl" and not self.shots:
            raise TrainingError("task fsl needs shots, such as 1, 2, 4, 8 or 16 images per label")
        values = self.to_json()
        for name, purpose in idle_settings(values).items():
            if values[name] != _default(self.task, name):
                raise TrainingError(
                    f"{name} {values[name]!r:.80} is for {purpose} and changes nothing here: leave "
                    "it out"
                )

    @property
    def writer_weights(self) -> dict[str, float]:
        """What a text counts, by writer; empty where all count the same."""
        return writer_weights_of(self.text_weights)

    @property
    def uses_images(self) -> bool:
        """Whether images of the store are read: for the loss, for the shift or for both."""
        return self.learn_from in ("images", "both") or self.shift in ("plain", "neighbours")

    @property
    def uses_synthetic(self) -> bool:
        """Whether synthetic images are read: likewise."""
        return self.synthetic_in_loss or self.shift == "synthetic"

    @property
    def synthetic_in_loss(self) -> bool:
        """Whether synthetic images are learnt from."""
        return self.learn_from in SYNTHETIC

    @property
    def images_in_loss(self) -> bool:
        """Whether images are learnt from, labelled or synthetic."""
        return self.learn_from != "texts"

    @property
    def texts_in_loss(self) -> bool:
        """Whether texts are learnt from."""
        return self.learn_from not in ("images", "synthetic")

    @property
    def image_place(self) -> Where:
        """Where the noise on images lies."""
        if self.image_where != "auto":
            return self.image_where
        return "surface" if self.network == "residual" else "interior"

    @property
    def neighbour_rule(self) -> tuple[int, float]:
        """Rounds of neighbours, and how far to go from the gap towards them."""
        rounds, share = self.neighbour_rounds, self.neighbour_share
        assert rounds != "auto", "written out when it was made"
        assert share != "auto"
        return rounds, share

    @property
    def labels_of_a_step(self) -> int:
        """Labels that a step takes as negatives, of a run that is settled; 0: all."""
        assert self.sampled_labels != "auto", "written out when a training begins"
        return self.sampled_labels

    @property
    def texts_of_a_step(self) -> int:
        """Texts that a step takes, of a run that is settled."""
        assert self.batch != "auto", "written out when a training begins"
        return self.batch

    @property
    def top_rate(self) -> float:
        """The top of the 1-cycle, of a run that is settled."""
        assert self.lr != "auto", "written out when a training begins"
        return self.lr

    def settled_for(self, labels: int) -> Self:
        """With ``sampled_labels``, ``batch`` and ``lr`` written out for so many labels."""
        size = self.sampled_labels
        if size == "auto":
            size = SAMPLED_LABELS if labels > SAMPLED_FROM else 0
        large = 0 < size < labels and not self.images_in_loss and self.batch == "auto"
        batch, lr = (SAMPLED_BATCH, SAMPLED_TOP_RATE) if large else (BATCH, TOP_RATE)
        return dataclasses.replace(
            self,
            sampled_labels=size,
            batch=batch if self.batch == "auto" else self.batch,
            lr=lr if self.lr == "auto" else self.lr,
        )

    def settled(self, shift: ShiftKind, *, rn50: bool = False) -> Self:
        """With this shift and all that is ``auto`` written out: the radius is smaller after one.

        For vectors of CLIP RN50 (``rn50``) the paper's networks take the paper's own radii.
        """
        own = rn50 and self.network != "residual"
        changes: dict[str, Any] = {"shift": shift}
        if self.radius == "auto":
            plain = RADIUS_RN50 if shift == "none" else SHIFTED_RADIUS_RN50
            changes["radius"] = plain if own else auto_radius(self.task, shift)
        if self.images_in_loss:
            changes["image_where"] = self.image_place
            if self.image_radius == "auto":
                multiple = f"{self._auto_image_radius:g}x"
                changes["image_radius"] = IMAGE_RADIUS_RN50 if own else multiple
        return dataclasses.replace(self, **changes)

    def text_radius(self, mean_norm: float) -> float:
        """The radius around texts, in their unit; one that is settled."""
        return resolve_radius(self.radius, mean_norm)

    def image_radius_at(self, mean_norm: float) -> float:
        """The radius around image vectors of this mean norm, in their unit."""
        return resolve_radius(
            self.image_radius, mean_norm, auto=self._auto_image_radius, name="image_radius"
        )

    @property
    def _auto_image_radius(self) -> float:
        radii = SYNTHETIC_RADIUS if self.synthetic_in_loss else IMAGE_RADIUS
        return radii[self.network]

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The paper's setting (4.1 of arXiv:2312.04160), with ``changes``.

        Its network, 60 epochs, batch 64, 1-cycle up to 1e-4; on CLIP RN50's vectors radius 25,
        after a shift 10, for images 1 and inside the sphere, elsewhere the same multiples of the
        vectors' norm. ``pll`` learns from plainly shifted texts alone, ``fsl`` from unshifted texts
        and images. The paper leaves dropout and weight decay open: 0.5 and 0.01 here. The network
        ``small`` has two hidden layers of 512, and trains in a tenth of the time.
        """
        task, network = changes.get("task", "zsl"), changes.get("network", "paper")
        return cls(**(papers_settings(task=task, network=network) | changes))

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """From some fields: with ``paper`` or ``small`` the rest are the paper's settings.

        Raises :class:`TrainingError` on a field that does not exist.
        """
        _require_fields(cls, settings)
        plain = settings.get("network") in PAPERS_NETWORKS
        return cls.paper(**settings) if plain else cls(**settings)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises :class:`TrainingError` on a field that does not exist.

        Fields that came later get the values that they had when they were constants.
        """
        known = upgraded(values)
        _require_fields(cls, known)
        config = cls(**_without_idle(known))
        return config if config.shift == "auto" else config.settled(config.shift)

    @classmethod
    def from_file(cls, path: str | Path, **changes: Any) -> Self:
        """From a TOML file of fields, or the ``card.json`` of a run; ``changes`` take their place.

        As with :meth:`of`, what the file leaves out is the default, or the paper's. Raises
        :class:`TrainingError` naming the file, and the field where one is wrong.
        """
        path = Path(path)
        values, recorded = read_settings(path)
        try:
            known = _without_idle(upgraded(values)) if recorded else values
            return cls.of(**{**known, **changes})
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)


def _require_fields(kind: type[TrainConfig], values: Mapping[str, Any]) -> None:
    unknown = set(values) - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise TrainingError(
            f"the configuration holds the unknown field {min(unknown)!r}: leave it out, or take "
            "the taistore that wrote it"
        )


def _default(task: Task, name: str) -> Any:
    """What a field is where nothing is said of it."""
    fields = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return AUTO_BY_TASK[task].get(name, fields[name]) if fields[name] == "auto" else fields[name]


def _without_idle(values: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings without those that change nothing: earlier versions kept them."""
    task = values.get("task", "zsl")
    if task not in TASKS:
        return dict(values)
    names = (field.name for field in dataclasses.fields(TrainConfig))
    idle = idle_settings({name: _default(task, name) for name in names} | dict(values))
    return {name: value for name, value in values.items() if name not in idle}
