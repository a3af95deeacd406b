"""Fig. 1 of arXiv:2312.04160: a training step's time and memory against the number of labels.

CLIP RN50's text transformer as open_clip builds it, with random weights, on random vectors: what a
step costs does not depend on what it learns. B batch, L regions or tokens, N labels, D dimension.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import torch

from taistore.adapter.config import TrainConfig
from taistore.adapter.freed_memory import give_back, keep_large_blocks_apart
from taistore.adapter.loss import sparse_bce
from taistore.adapter.network import NetworkShape, build_network
from taistore.adapter.optimizer import SGD, AdamW, one_cycle
from taistore.adapter.sampled.sampled_step import SampledStep, ShakenBatch
from taistore.encoders.open_clip.catalogue import model_config
from taistore.encoders.open_clip.clip_prompts import ClipPrompts
from taistore.encoders.open_clip.model import build_model
from taistore.encoders.open_clip.text_tower import TextTower, load_tokenizer
from taistore.encoders.precision import resolve_device
from taistore.geometry.perturbation import perturb
from taistore.progress import Progress, no_progress
from taistore.prompting.contexts import Contexts, LabelPrompts
from taistore.prompting.examples import Examples
from taistore.prompting.prompt_config import PromptConfig
from taistore.prompting.prompt_job import learner_loss
from taistore.reproduction.without_data.peak_memory import forget_peak, peak_bytes

NAME = "fig1"
TITLE = "Fig. 1: a training step against the number of labels, batch 64"
MODEL = "RN50"
BATCH = 64
LABELS = (20, 80, 400, 1000)
OPENIMAGES = 7186
"""Labels at which adapters are measured too, and to which a prompt learner's last cost is drawn
out, in proportion to the labels."""

_REGIONS = 49
_WORDS = ("red", "small", "wooden", "old", "large", "striped", "broken", "round")
_STEPS = 3
_FEW = 8
_TOTAL = 10_000
"""Steps of the training that a measured step is one of."""

_SLOW = 5.0
"""Seconds of a step from which on it is taken once and not again."""

ADAPTERS: dict[str, TrainConfig] = {
    "TaI-Adapter": TrainConfig.paper(batch=BATCH),
    "taistore's default": TrainConfig(batch=BATCH),
}
LEARNERS: dict[str, PromptConfig] = {
    "CoOp": PromptConfig.of("coop", task="pll"),
    "DualCoOp": PromptConfig.of("dualcoop", variant="official"),
    "TaI-DPT": PromptConfig.of("tai-dpt"),
}
METHODS = (*ADAPTERS, *LEARNERS)

REMARKS = (
    "a step: forward, backward, optimiser; vectors of images and texts are there already",
    "prompts go through the text tower in every step, a few tokens longer than the label; of more "
    "than 256 labels the tower's work is done again in the backward pass: time for memory",
    "memory is what the process held above what it held before it had the network and the tower, "
    "with torch's code loaded",
    "the paper's own curves are of a V100 GPU and printed without figures: nothing stands beside",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """What a step of a method takes: processor seconds (on a GPU those of the clock), and bytes at
    most."""

    method: str
    labels: int
    seconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelGrowth:
    """The curves; ``device`` is where they were measured, with ``threads`` on a CPU."""

    device: str
    threads: int
    costs: tuple[StepCost, ...]

    def drawn_out(self) -> dict[str, float]:
        """Seconds of a learner's step at :data:`OPENIMAGES` labels, in proportion from its last."""
        last = {cost.method: cost for cost in self.costs if cost.labels < OPENIMAGES}
        return {
            name: cost.seconds * OPENIMAGES / cost.labels
            for name, cost in last.items()
            if name in LEARNERS
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is drawn out is told apart from what was measured."""
        return {
            "figure": NAME,
            "title": TITLE,
            "model": MODEL,
            "device": self.device,
            "threads": self.threads,
            "measured": [asdict(cost) for cost in self.costs],
            "extrapolated": {"labels": OPENIMAGES, "seconds": self.drawn_out()},
            "remarks": list(REMARKS),
        }

    def text(self) -> str:
        """A line a method: seconds and MiB by number of labels."""
        labels = sorted({cost.labels for cost in self.costs})
        heads = [f"{count:,} labels" for count in labels]
        found = {(cost.method, cost.labels): cost for cost in self.costs}
        drawn = self.drawn_out() if labels[-1] == OPENIMAGES else {}
        lines = [TITLE, f"on {self.device}, {self.threads} threads", ""]
        lines.append(_line("seconds a step", heads))
        names = list(dict.fromkeys(cost.method for cost in self.costs))
        for name in names:
            cells = [f"{found[name, n].seconds:.3g}" for n in labels if (name, n) in found]
            cells += [f"{drawn[name]:.3g} *"] if name in drawn else []
            lines.append(_line(name, cells))
        lines += ["", _line("MiB", heads)]
        for name in names:
            own = [found[name, n] for n in labels if (name, n) in found]
            lines.append(_line(name, [f"{one.bytes / 2**20:,.0f}" for one in own]))
        if drawn:
            lines += ["", "* not measured: its last figure in proportion to the labels"]
        return "\n".join([*lines, "", *(f"  - {remark}" for remark in REMARKS)])


def measure_growth(
    labels: Sequence[int] = LABELS,
    *,
    methods: Iterable[str] = METHODS,
    device: str = "auto",
    progress: Progress = no_progress,
) -> LabelGrowth:
    """Every method at every number of labels, adapters at :data:`OPENIMAGES` too.

    Each is measured in a process of its own.

    Raises :class:`~taistore.errors.EncoderError` where open_clip's tokenizer is not there, and
    MemoryError where a process did not survive.
    """
    where = resolve_device(device)
    wanted = [
        (name, count)
        for name in methods
        for count in sorted({*labels, OPENIMAGES} if name in ADAPTERS else set(labels))
    ]
    costs = []
    with progress("measure", total=len(wanted), unit="steps") as bar:
        for name, count in wanted:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                costs.append(pool.submit(step_cost, name, count, str(where)).result())
            bar.advance(1)
    return LabelGrowth(device=str(where), threads=torch.get_num_threads(), costs=tuple(costs))


def step_cost(method: str, labels: int, device: str) -> StepCost:
    """One method at one number of labels, in this process."""
    where = torch.device(device)
    keep_large_blocks_apart()  # as every training does
    # The code of any step is loaded by a small one: pages of a library are not what a step holds.
    for _ in range(2):
        adapter_step("taistore's default", _FEW, where, batch=_FEW)()
    give_back()
    forget_peak()
    before = _peak(where)
    made = adapter_step if method in ADAPTERS else _learner_step
    step = made(method, labels, where)
    seconds = [_timed(step, where)]
    while len(seconds) <= _STEPS and seconds[0] < _SLOW:
        seconds.append(_timed(step, where))
    # The first one also finds room, where others follow.
    taken = statistics.median(seconds[1:] or seconds)
    return StepCost(method=method, labels=labels, seconds=taken, bytes=_peak(where) - before)


def _timed(step: Callable[[], None], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.process_time()
        step()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def adapter_step(
    method: str,
    labels: int,
    device: torch.device,
    *,
    batch: int = BATCH,
    positives: Sequence[torch.Tensor] = (),
) -> Callable[[], None]:
    """A step of a training on texts [B, D]: noise, gradient, move; sampled where training samples.

    ``positives`` are cells int64 [P] as ``row * N + label``, a step's after the other's; by default
    one label a text.
    """
    config, dim = ADAPTERS[method].settled_for(labels), int(model_config(MODEL)["embed_dim"])
    shape = NetworkShape(
        network=config.network,
        dim=dim,
        labels=labels,
        hidden=config.hidden,
        dropout=config.dropout,
    )
    network = build_network(shape).train().to(device)
    generator = torch.Generator(device)
    texts_BD = torch.randn(batch, dim, device=device)
    rows_B = torch.arange(batch)
    cells = [one.to(device) for one in positives or (rows_B * labels + rows_B % labels,)]
    size, decay = config.labels_of_a_step, config.weight_decay
    sampled: SampledStep | None = None
    optimizer: AdamW | None = None
    if 0 < size < labels:
        sampled = SampledStep(
            network,
            labels=labels,
            size=size,
            total=_TOTAL,
            lr=config.top_rate,
            weight_decay=decay,
            seed=0,
        )
    else:
        optimizer = AdamW(network, weight_decay=decay)
    numbers = itertools.count()

    def step() -> None:
        number = next(numbers)
        shaken_BD = perturb(texts_BD, 25.0, where="surface", generator=generator)
        own = cells[number % len(cells)]
        if sampled is not None:
            sampled.optimizer.zero_grad()
            sampled.learn(number, [ShakenBatch(shaken_BD, own)], generator, value=False)
            sampled.move(number)
        if optimizer is not None:
            optimizer.zero_grad()
            torch.autograd.backward(sparse_bce(network(shaken_BD, generator), own))
            lr, momentum = one_cycle(number, _TOTAL, config.top_rate)
            optimizer.step(lr=lr, momentum=momentum)

    return step


def _learner_step(method: str, labels: int, device: torch.device) -> Callable[[], None]:
    config, dim = LEARNERS[method], int(model_config(MODEL)["embed_dim"])
    model = build_model(
        MODEL,
        resolution=int(model_config(MODEL)["vision_cfg"]["image_size"]),
        quick_gelu=False,
        dtype=torch.float32,
    ).to(device)
    tower = ClipPrompts(TextTower(model, load_tokenizer(MODEL), name=MODEL, tokens=BATCH), device)
    generator = torch.Generator().manual_seed(0)
    prompts_ND = torch.zeros(labels, dim)
    contexts = Contexts(config, tower, prompts_ND=prompts_ND, generator=generator).to(device)
    prompts = LabelPrompts(tower, _names(labels), context=config.context)
    optimizer = SGD(contexts, momentum=config.momentum, weight_decay=config.weight_decay)
    targets_BN = torch.zeros(BATCH, labels, dtype=torch.int8)
    targets_BN[:, 0] = 1
    unit = torch.nn.functional.normalize
    batch = Examples(
        unit(torch.randn(BATCH, dim), dim=-1),
        unit(torch.randn(BATCH, _REGIONS, dim), dim=-1),
        torch.ones(BATCH, _REGIONS, dtype=torch.bool),
        targets_BN,
    ).to(device)

    def step() -> None:
        optimizer.zero_grad()
        logits = contexts.logits(prompts.vectors(contexts))
        torch.autograd.backward(learner_loss(logits, batch, config))
        optimizer.step(lr=config.lr)

    return step


def _names(labels: int) -> list[str]:
    """Names of two or three words, as labels have."""
    return [f"{_WORDS[n % len(_WORDS)]} thing {n}" for n in range(labels)]


def _peak(device: torch.device) -> int:
    """Bytes that were held at most: on the GPU by torch, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()


def _line(name: str, cells: Sequence[str]) -> str:
    return f"  {name:20}" + "".join(f"{cell:>14}" for cell in cells)
