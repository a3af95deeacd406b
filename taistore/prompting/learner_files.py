"""Finished prompt learners on disk: ``learner.safetensors`` and ``card.json``.

A learner is its label vectors, one of T2I-PAL its prototypes too: scoring needs no text tower.
Shapes: N labels, D embedding dimension, M context tokens, W width of the tower, B images, L
regions.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor

from taistore.adapter.run_files.checkpoint import (
    AGAIN,
    checked_tensors,
    read_card,
    read_label_prompts,
    write_card,
    write_tensors,
)
from taistore.adapter.run_files.file_names import LEARNER, PROMPTS
from taistore.adapter.run_files.plain_json import STRICT, from_plain
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import TrainingError
from taistore.prompting.prompt_config import PromptConfig
from taistore.prompting.prompt_scores import Logits, prototype_roles, roles
from taistore.store.object_folder import file_digest

CARD_VERSION = 1
_VECTORS, _CONTEXT, _PROTOTYPES = "vectors.", "context.", "prototypes."


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerCard:
    """All that a learner was trained with, and the temperatures that it scores with."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    run_id: str
    config: PromptConfig
    encoder: EncoderInfo
    label_keys: tuple[str, ...]
    label_names: tuple[str, ...]
    temperature: float
    spatial: float
    table_versions: Mapping[str, int]
    library_versions: Mapping[str, str]
    known: Mapping[str, int]
    metrics: Mapping[str, float]
    created: str
    learner_digest: str = ""
    prompts_digest: str = ""
    card_version: int = CARD_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {
            **dataclasses.asdict(self),
            "label_keys": list(self.label_keys),
            "label_names": list(self.label_names),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError naming what is wrong."""
        found = from_plain(cls, values)
        if found.card_version != CARD_VERSION:
            raise ValueError(
                f"card_version: {found.card_version}, this taistore reads {CARD_VERSION}"
            )
        if len(found.label_names) != len(found.label_keys):
            raise ValueError(
                f"label_names: {len(found.label_names)} of {len(found.label_keys)} labels"
            )
        return found


class Learner:
    """A finished prompt learner: unit label vectors [N, D] by role, the prototypes [N, D] of those
    that have any, and the zero-shot prompts."""

    def __init__(
        self,
        card: LearnerCard,
        vectors: Mapping[str, Tensor],
        prototypes: Mapping[str, Tensor],
        prompts_ND: NDArray[np.float32],
    ) -> None:
        self.card = card
        self.vectors = dict(vectors)
        self.prototypes = dict(prototypes)
        self.prompts_ND = prompts_ND

    def to(self, device: torch.device) -> Self:
        """Itself, on a device."""
        self.vectors = {role: vector_ND.to(device) for role, vector_ND in self.vectors.items()}
        self.prototypes = {role: one_ND.to(device) for role, one_ND in self.prototypes.items()}
        return self

    @property
    def logits(self) -> Logits:
        """What scores with its label vectors."""
        config = self.card.config
        return Logits(
            config.method,
            config.variant,
            self.vectors,
            temperature=self.card.temperature,
            spatial=self.card.spatial,
            prototypes=self.prototypes,
            alpha=config.alpha,
            beta=config.beta,
        )


def save_learner(
    folder: Path,
    card: LearnerCard,
    *,
    vectors: Mapping[str, Tensor],
    contexts: Mapping[str, Tensor],
    prototypes: Mapping[str, Tensor],
) -> LearnerCard:
    """Write label vectors and prototypes [N, D], contexts and card; returns the card with the
    files' digests."""
    tensors = {_VECTORS + role: value for role, value in vectors.items()}
    tensors |= {_CONTEXT + role: value for role, value in contexts.items()}
    tensors |= {_PROTOTYPES + role: value for role, value in prototypes.items()}
    write_tensors(folder / LEARNER, tensors)
    card = dataclasses.replace(
        card,
        learner_digest=file_digest(folder / LEARNER),
        prompts_digest=file_digest(folder / PROMPTS),
    )
    write_card(folder, card)
    return card


def load_learner(folder: Path) -> Learner:
    """The learner in a run's folder, on the CPU.

    Raises :class:`TrainingError` where a file is missing, damaged or of another run.
    """
    card = read_card(folder, LearnerCard.from_json, beside=LEARNER, what="prompt learner")
    tensors = checked_tensors(folder / LEARNER, card.learner_digest)
    size = (len(card.label_keys), card.encoder.dim)
    found = []
    for begin, wanted in (
        (_VECTORS, roles(card.config.method, card.config.variant)),
        (_PROTOTYPES, prototype_roles(card.config.prototypes)),
    ):
        values = {role: tensors[begin + role] for role in wanted if begin + role in tensors}
        if len(values) < len(wanted) or any(one.shape != size for one in values.values()):
            raise TrainingError(f"{folder / LEARNER}: not the label vectors of its card: {AGAIN}")
        found.append(values)
    vectors, prototypes = found
    prompts_ND = read_label_prompts(folder, card.prompts_digest, size)
    return Learner(card, vectors, prototypes, prompts_ND)
