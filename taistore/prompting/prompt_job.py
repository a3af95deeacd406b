"""The training of a prompt learner from a step to its end.

B batch, D embedding dimension, N labels.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from pydantic import ConfigDict
from torch import Tensor

from taistore.adapter.loop import TrainingLoop, library_versions
from taistore.adapter.optimizer import SGD, warm_cosine
from taistore.adapter.run_files.plain_json import STRICT, from_plain
from taistore.encoders.out_of_memory import out_of_memory
from taistore.errors import TrainingError
from taistore.prompting.branches import Step
from taistore.prompting.contexts import Contexts, LabelPrompts
from taistore.prompting.examples import Examples
from taistore.prompting.learner_files import LearnerCard, save_learner
from taistore.prompting.prompt_config import PromptConfig, Variant
from taistore.prompting.prompt_losses import asymmetric, known_bce, ranking
from taistore.prompting.prompt_scores import Logits

WARM_EPOCHS = 1

_EPSILON: Mapping[Variant, float] = {
    "plain": 1e-8,
    "official": 1e-6,
    "in-tai-dpt": 1e-8,
    "plus": 1e-8,
}
_SUM_SCALE: Mapping[Variant, float] = {"official": 0.03, "plus": 0.02}
"""Of DualCoOp's loss, which is a sum; TaI-DPT's form divides it by the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerStart:
    """A run's settings, and what they came to on its data."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    encoder_id: str
    config: PromptConfig
    known: Mapping[str, int] = field(default_factory=dict)
    table_versions: Mapping[str, int]
    created: str

    @property
    def shift(self) -> Mapping[str, float | str]:
        """Nothing is moved."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError or TrainingError on anything else."""
        return from_plain(cls, dict(values))


@dataclass(kw_only=True)
class LearnerJob(TrainingLoop[LearnerStart, Contexts, Step]):
    """The training of contexts: each step makes the label vectors anew, and goes back to them."""

    optimizer: SGD = field(init=False)
    prompts: LabelPrompts

    def __post_init__(self) -> None:
        self.config = self.start.config
        self.optimizer = SGD(
            self.network, momentum=self.config.momentum, weight_decay=self.config.weight_decay
        )
        super().__post_init__()

    def learn(self, step: int, batch: Step, *, value: bool) -> float:
        """Label vectors, scores, loss and the way back."""
        try:
            logits = self.network.logits(self.prompts.vectors(self.network))
            loss = step_loss(logits, [part.to(self.device) for part in batch], self.config)
            torch.autograd.backward(loss)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise TrainingError(
                f"out of memory at step {step + 1} with batch {self.config.batch} and "
                f"{len(self.store.labels):,} labels: train anew with a smaller batch= or context=, "
                "or resume where there is more"
            ) from error
        return float(loss.detach()) if value else math.nan

    def move(self, step: int) -> None:
        """A step of SGD at the rate of its epoch."""
        config = self.config
        rate = warm_cosine(
            step // self.source.batches_per_epoch,
            epochs=config.epochs,
            lr=config.lr,
            warm=WARM_EPOCHS,
            warm_lr=config.warm_lr,
        )
        self.optimizer.step(lr=rate)

    def advice(self, batch: Step) -> str:
        """The learning rate, or the temperature."""
        del batch
        return f"lr ({self.config.lr:g}) or temperature ({self.config.temperature:g})"

    @torch.inference_mode()
    def finish(self, metrics: dict[str, float]) -> None:
        """Label vectors, prototypes, contexts and card."""
        self.network.eval()
        start, config = self.start, self.config
        learnt = "spatial" in self.network.temperatures
        spatial = self.network.temperature("spatial") if learnt else config.spatial_test
        card = LearnerCard(
            run_id=self.run_id,
            config=config,
            encoder=self.store.encoder(start.encoder_id),
            label_keys=tuple(self.store.labels.keys),
            label_names=tuple(label.name for label in self.store.labels),
            temperature=float(self.network.temperature("temperature")),
            spatial=float(spatial),
            table_versions=start.table_versions,
            library_versions=library_versions(),
            known=start.known,
            metrics=metrics,
            created=start.created,
        )
        vectors = self.prompts.vectors(self.network)
        save_learner(
            self.folder,
            card,
            vectors=vectors,
            contexts=dict(self.network.tokens),
            prototypes=dict(self.network.prototypes),
        )


def step_loss(logits: Logits, batches: Sequence[Examples], config: PromptConfig) -> Tensor:
    """The losses of a step's batches by their shares: gamma L_image + (1 - gamma) L_text."""
    losses = [
        share * learner_loss(logits, batch, config)
        for share, batch in zip(config.shares, batches, strict=True)
    ]
    return torch.stack(losses).sum()


def learner_loss(logits: Logits, batch: Examples, config: PromptConfig) -> Tensor:
    """The loss of local scores, and the same of whole images or texts where they are scored."""
    parts_BN = [logits.local(batch.local_BLD, batch.there_BL)]
    if logits.has_whole:
        parts_BN.append(logits.whole(batch.whole_BD))
    return torch.stack([_loss(part_BN, batch.targets_BN, config) for part_BN in parts_BN]).sum()


def _loss(logits_BN: Tensor, targets_BN: Tensor, config: PromptConfig) -> Tensor:
    """As the method's authors, or those of its tables, have it."""
    if config.loss == "bce":
        return known_bce(logits_BN, targets_BN)
    if config.loss == "ranking":
        return ranking(logits_BN, targets_BN)
    total = asymmetric(logits_BN, targets_BN, epsilon=_EPSILON[config.variant])
    return total * _SUM_SCALE.get(config.variant, 1 / len(targets_BN))
