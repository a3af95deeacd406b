"""The configuration of a prompt learner: validated once, written to the card as plain JSON."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Literal, Self, get_args

from taistore.adapter.config import Task
from taistore.adapter.settings.auto_settings import ALL_IMAGES
from taistore.adapter.settings.setting_checks import number, one_of, text, whole
from taistore.errors import TrainingError

Method = Literal["coop", "dualcoop", "tai-dpt", "t2i-pal"]
Loss = Literal["bce", "asymmetric", "ranking"]
Variant = Literal["plain", "official", "in-tai-dpt", "plus"]
LearnFrom = Literal["", "texts", "synthetic", "texts+synthetic", "texts+synthetic+images"]
Prototypes = Literal["none", "local", "global"]
Kind = Literal["texts", "synthetic", "images"]

METHODS: tuple[Method, ...] = get_args(Method)
LOSSES: tuple[Loss, ...] = get_args(Loss)
VARIANTS: tuple[Variant, ...] = get_args(Variant)
PROTOTYPES: tuple[Prototypes, ...] = get_args(Prototypes)

TASKS_OF: Mapping[Method, tuple[Task, ...]] = {
    "coop": ("fsl", "pll"),
    "dualcoop": ("pll", "fsl"),
    "tai-dpt": ("zsl",),
    "t2i-pal": ("zsl", "fsl", "pll"),
}
"""What each method can learn from; its own task first."""

_WITH_IMAGES: LearnFrom = "texts+synthetic+images"

_PUBLISHED: Mapping[tuple[Method, Variant], Mapping[str, Any]] = {
    ("coop", "plain"): {
        "loss": "bce",
        "class_specific": False,
        "temperature": 100.0,
        "spatial": 50.0,
        "epochs": 50,
        "batch": 32,
        "lr": 2e-3,
    },
    ("dualcoop", "official"): {
        "loss": "asymmetric",
        "class_specific": False,
        "temperature": 100.0,
        "spatial": 20.0,
        "epochs": 50,
        "batch": 32,
        "lr": 2e-3,
    },
    ("dualcoop", "in-tai-dpt"): {
        "loss": "asymmetric",
        "class_specific": True,
        "temperature": math.exp(3.91),
        "spatial": math.exp(3.0),
        "epochs": 50,
        "batch": 64,
        "lr": 2e-3,
    },
    ("dualcoop", "plus"): {
        "loss": "asymmetric",
        "class_specific": False,
        "temperature": 100.0,
        "spatial": math.exp(3.0),
        "epochs": 50,
        "batch": 32,
        "lr": 5e-3,
    },
    ("tai-dpt", "plain"): {
        "loss": "ranking",
        "class_specific": False,
        "temperature": 4.0,
        "spatial": 50.0,
        "spatial_test": 40.0,
        "epochs": 20,
        "batch": 512,
        "lr": 1e-4,
    },
    ("t2i-pal", "plain"): {
        "loss": "ranking",
        "class_specific": True,
        "temperature": 1.0,
        "spatial": 50.0,
        "epochs": 40,
        "batch": 64,
        "lr": 1e-4,
        "prototypes": "local",
    },
}
"""What the methods' authors trained with, by method and variant. CoOp's temperature is CLIP's own;
its spatial one, which no publication gives, is TaI-DPT's. DualCoOp's official temperature is its 20
times the 5 that its scores are multiplied with. T2I-PAL's paper multiplies its cosines by nothing;
momentum, weight decay and the course of the rate, which it does not give, are TaI-DPT's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """How a prompt learner is trained; :meth:`of` fills in what its authors published.

    ``context`` tokens are learnt before the name of each label, for all labels the same or
    ``class_specific``; they begin as those of ``context_init``, such as "a photo of a", or, where
    that is empty, at random. Cosines are multiplied by ``temperature``; those of regions (or of a
    text's tokens) are weighed by a softmax over them of ``spatial`` times the cosine, in a finished
    learner of ``spatial_test`` times. ``loss`` is ``bce``, ``asymmetric`` or ``ranking``.
    ``variant`` is a form of DualCoOp: ``official``, ``in-tai-dpt`` (the one that TaI-DPT's and
    TaI-Adapter's tables integrate, and the default) or ``plus`` (DualCoOp++), else ``plain``.
    ``lr`` falls by a cosine over ``epochs``, the first of which has ``warm_lr``.

    T2I-PAL learns from what ``learn_from`` names, "" for all other methods: in a step texts count
    1 - ``gamma`` and images ``gamma``, made ones and, in task fsl and pll, labelled ones. Of its
    ``prototypes``, ``local`` ones or ``global`` ones too, come affinities of sharpness ``beta``,
    ``alpha`` times of which are added to its scores.

    Split, shots and masks are those of :class:`taistore.adapter.config.TrainConfig`. Raises
    :class:`TrainingError` naming a field, its value and what is allowed, also where a value would
    change nothing.
    """

    method: Method
    task: Task
    variant: Variant
    loss: Loss
    class_specific: bool
    temperature: float
    spatial: float
    spatial_test: float
    epochs: int
    batch: int
    lr: float
    split: str
    context: int = 16
    context_init: str = ""
    warm_lr: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    shots: int = 0
    shot_seed: int = 0
    known: float = 1.0
    mask_seed: int = 0
    learn_from: LearnFrom = ""
    prototypes: Prototypes = "none"
    alpha: float = 1.0
    beta: float = 3.5
    gamma: float = 0.2

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        _check_variant(self.method, self.variant)
        one_of(f"method {self.method} with loss", self.loss, LOSSES)
        tasks = TASKS_OF[self.method]
        if self.task not in tasks:
            raise TrainingError(
                f"method {self.method} learns from {_LEARNS[self.method]}: give task="
                f"{' or '.join(tasks)}, or train an adapter for task {self.task!r:.80}"
            )
        self._check_numbers()
        one_of("prototypes", self.prototypes, PROTOTYPES)
        if self.method == "t2i-pal":
            allowed = _sources(self.task)
            one_of(f"method t2i-pal, task {self.task} with learn_from", self.learn_from, allowed)
        self._check_idle()

    def _check_numbers(self) -> None:
        for name in ("context_init", "split"):
            text(name, getattr(self, name))
        for name in ("context", "epochs", "batch"):
            whole(name, getattr(self, name), low=1)
        for name in ("seed", "shot_seed", "mask_seed", "shots"):
            whole(name, getattr(self, name), low=0)
        if not isinstance(self.class_specific, bool):
            raise TrainingError(f"class_specific {self.class_specific!r:.80} is neither yes nor no")
        for name in ("temperature", "spatial", "spatial_test", "lr", "warm_lr"):
            number(name, getattr(self, name), "above 0", lambda v: v > 0)
        number("momentum", self.momentum, "from 0 below 1", lambda v: 0 <= v < 1)
        number("weight_decay", self.weight_decay, "at least 0", lambda v: v >= 0)
        number("known", self.known, "above 0 and at most 1", lambda v: 0 < v <= 1)
        number("alpha", self.alpha, "at least 0", lambda v: v >= 0)
        number("beta", self.beta, "above 0", lambda v: v > 0)
        number("gamma", self.gamma, "from 0 to 1", lambda v: 0 <= v <= 1)

    def _check_idle(self) -> None:
        """Refuse settings that method, task or variant would silently ignore."""
        if self.task == "fsl" and not self.shots:
            raise TrainingError("task fsl needs shots, such as 1, 2, 4, 8 or 16 images per label")
        idle: dict[str, str] = {}
        if self.task != "fsl":
            idle |= dict.fromkeys(("shots", "shot_seed"), "task fsl")
        if self.task != "pll":
            idle |= dict.fromkeys(("known", "mask_seed"), "task pll")
        if self.task == "zsl":
            idle["split"] = "task fsl or pll"
        if self.variant == "in-tai-dpt":
            idle["spatial_test"] = "variants whose spatial is not learnt"
        if self.method != "t2i-pal":
            idle |= dict.fromkeys(("learn_from", "prototypes", "gamma"), "method t2i-pal")
        elif len(self.kinds) == 1:
            idle["gamma"] = "learn_from texts+synthetic"
        if self.prototypes == "none":
            needed = "prototypes local or global" if self.method == "t2i-pal" else "method t2i-pal"
            idle |= dict.fromkeys(("alpha", "beta"), needed)
        plain = {field.name: field.default for field in dataclasses.fields(self)}
        plain |= {"split": _split(self.task), "spatial_test": self.spatial}
        for name, purpose in idle.items():
            if getattr(self, name) != plain[name]:
                raise TrainingError(
                    f"{name} {getattr(self, name)!r:.80} is for {purpose} and changes nothing "
                    "here: leave it out"
                )

    @property
    def uses_images(self) -> bool:
        """Whether it learns from labelled images."""
        return "images" in self.kinds

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it learns from: texts come first, the others are the branch of images."""
        if self.learn_from:
            named = self.learn_from.split("+")
            return tuple(kind for kind in get_args(Kind) if kind in named)
        return ("texts",) if self.task == "zsl" else ("images",)

    @property
    def shares(self) -> tuple[float, ...]:
        """What texts and images count in the loss, where it learns from both; else 1."""
        mixed = len(self.kinds) > 1
        return (1 - self.gamma, self.gamma) if mixed else (1.0,)

    @classmethod
    def of(cls, method: Method, **settings: Any) -> Self:
        """Some fields, and for all others what was published."""
        one_of("method", method, METHODS)
        settings.setdefault("task", TASKS_OF[method][0])
        settings.setdefault("variant", "in-tai-dpt" if method == "dualcoop" else "plain")
        _check_variant(method, settings["variant"])
        published = dict(_PUBLISHED[method, settings["variant"]])
        if method == "t2i-pal":
            published["learn_from"] = _sources(settings["task"])[0]
        if "spatial" in settings or "spatial_test" not in published:
            published["spatial_test"] = settings.get("spatial", published["spatial"])
        return cls.from_json(
            {"method": method, "split": _split(settings["task"]), **published, **settings}
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises :class:`TrainingError` on a field that does not exist."""
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        lacking = [n for n, default in fields.items() if n not in values and default is MISSING]
        if lacking:
            raise TrainingError(f"the configuration has no {lacking[0]!r}: train a new run")
        unknown = set(values) - set(fields)
        if unknown:
            raise TrainingError(
                f"{min(unknown)!r} is no setting of method {values.get('method')!r:.80}: leave it "
                "out"
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)


def _check_variant(method: Method, variant: Variant) -> None:
    one_of("variant", variant, VARIANTS)
    if (method, variant) not in _PUBLISHED:
        raise TrainingError(f"variant {variant!r} is none of method {method}: leave it out")


def _split(task: object) -> str:
    """The images that a task goes by where nothing is said."""
    return ALL_IMAGES if task == "zsl" else "train"


def _sources(task: object) -> tuple[LearnFrom, ...]:
    """What T2I-PAL may learn from in a task; what it does where nothing is said first."""
    if task == "zsl":
        return ("texts+synthetic", "texts", "synthetic")
    return (_WITH_IMAGES,)


_LEARNS: Mapping[Method, str] = {
    "coop": "labelled images",
    "dualcoop": "labelled images",
    "tai-dpt": "texts",
    "t2i-pal": "texts and images made of them, and from labelled images",
}
