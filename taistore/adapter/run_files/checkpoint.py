"""Adapters on disk: ``adapter.safetensors``, ``prompts.safetensors`` and ``card.json``.

Nothing that unpickles. B batch, D embedding dimension, N labels.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import AdapterNetwork, NetworkShape, build_network
from taistore.adapter.run_files.file_names import CARD, DISCRIMINANT, PROMPTS, WEIGHTS, write_whole
from taistore.adapter.run_files.plain_json import STRICT, from_plain, read_object
from taistore.adapter.run_files.run_start import todays_shape
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import TrainingError
from taistore.store.object_folder import file_digest
from taistore.store.store import Store

CARD_VERSION = 1

AGAIN = "train it again, or give the folder of a finished run"
"""What to do about a run whose files are not as they were written."""


class Card(Protocol):
    """What the cards of all trainings say."""

    @property
    def run_id(self) -> str:
        """Of the run that it describes."""
        ...

    @property
    def encoder(self) -> EncoderInfo:
        """Whose vectors it was trained on."""
        ...

    @property
    def label_keys(self) -> tuple[str, ...]:
        """The labels that it was trained for."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        ...


CardT = TypeVar("CardT", bound=Card)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterCard:
    """Everything needed to reload an adapter and to train it again.

    ``radius`` is what the configuration's radius came to, in the unit of the vectors, and
    ``image_radius`` that of images, None where the loss took none.
    ``logit_spread`` is the deviation of the logits over a sample of the texts or, within each, of
    the images (``logits_of``), ``logit_energy`` the mean over those of ``spread * logsumexp(logits
    / spread)``: with both, scoring lets the labels of an image compete. ``weights_digest``,
    ``prompts_digest`` and ``discriminant_digest`` are the SHA-256 of the files; the second is empty
    where a run is from before prompts were kept, the third where it went by no unlabelled images.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    run_id: str
    config: TrainConfig
    encoder: EncoderInfo
    shape: NetworkShape
    label_keys: tuple[str, ...]
    label_names: tuple[str, ...]
    mean_text_norm: float
    radius: float
    table_versions: Mapping[str, int]
    library_versions: Mapping[str, str]
    logit_spread: float
    logit_energy: float
    metrics: Mapping[str, float]
    created: str
    weights_digest: str
    image_radius: float | None = None
    prompts_digest: str = ""
    logits_of: Literal["texts", "images"] = "texts"
    discriminant_digest: str = ""
    card_version: int = CARD_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "config": self.config.to_json(),
            "encoder": dataclasses.asdict(self.encoder),
            "shape": dataclasses.asdict(self.shape),
            "label_keys": list(self.label_keys),
            "label_names": list(self.label_names),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError or TrainingError naming what is wrong."""
        found = from_plain(cls, values | _todays_config(values))
        if found.card_version != CARD_VERSION:
            raise ValueError(f"card_version: {found.card_version}, this taistore reads 1")
        found._check()
        return found

    def _check(self) -> None:
        """Raise ValueError where two fields do not fit each other."""
        for name, given in (("label_keys", self.label_keys), ("label_names", self.label_names)):
            if len(given) != self.shape.labels:
                raise ValueError(f"{name}: {len(given)}, but shape.labels is {self.shape.labels}")
        if self.shape.dim != self.encoder.dim:
            raise ValueError(f"shape.dim: {self.shape.dim}, the encoder's is {self.encoder.dim}")
        if self.logit_spread <= 0:
            raise ValueError(f"logit_spread: {self.logit_spread} is not above 0")


def _todays_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in today's fields; nothing where it is none at all."""
    config = values.get("config")
    if not isinstance(config, dict):
        return {}
    found = TrainConfig.from_json(config)
    return {"config": found.to_json(), "shape": todays_shape(values.get("shape"), found)}


class Adapter(nn.Module):
    """A trained network in evaluation mode with the card that it was saved with.

    ``prompts_ND``: the label prompts that it was trained beside, unit vectors float32 [N, D]; None
    where the run is from before they were kept.
    """

    def __init__(
        self,
        network: AdapterNetwork,
        card: AdapterCard,
        prompts_ND: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.prompts_ND = prompts_ND
        self.eval().requires_grad_(False)

    def logits(self, vectors_BD: torch.Tensor) -> torch.Tensor:
        """Logits [B, N] float32 of raw image vectors [B, D] of any floating type and device."""
        weight = next(self.network.parameters())
        with torch.inference_mode():
            logits_BN: torch.Tensor = self.network(vectors_BD.to(weight.device, weight.dtype))
        return logits_BN


def check_fits(card: Card, store: Store, encoder_id: str) -> None:
    """Raise :class:`TrainingError` where labels or encoder are not those it was trained for."""
    if card.encoder.encoder_id != encoder_id:
        raise TrainingError(
            f"run {card.run_id} was trained for the encoder {card.encoder.spec!r}, not for "
            f"{store.encoder(encoder_id).spec!r}: train one for it, or use encoder="
            f"{card.encoder.spec}"
        )
    if list(card.label_keys) != store.labels.keys:
        raise TrainingError(
            f"run {card.run_id} was trained for {len(card.label_keys)} labels that are not the "
            f"{len(store.labels)} of {store.uri}: use the store that it came from"
        )


def save_prompts(folder: Path, prompts_ND: NDArray[np.float32]) -> None:
    """Keep the label prompts [N, D] of a run: texts that come later may change the store's."""
    write_tensors(folder / PROMPTS, {"prompts": torch.from_numpy(prompts_ND)})


def save_adapter(folder: Path, network: AdapterNetwork, card: AdapterCard) -> AdapterCard:
    """Write weights and card into ``folder``; returns the card with the files' digests.

    The prompts are those that :func:`save_prompts` put there.
    """
    write_tensors(folder / WEIGHTS, network.state_dict())
    card = dataclasses.replace(
        card,
        weights_digest=file_digest(folder / WEIGHTS),
        prompts_digest=_digest_of(folder / PROMPTS),
        discriminant_digest=_digest_of(folder / DISCRIMINANT),
    )
    write_card(folder, card)
    return card


def write_card(folder: Path, card: Card) -> None:
    """Write it into a run's folder, whole."""
    text = json.dumps(card.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_whole(folder / CARD, lambda part: part.write_text(text, encoding="utf-8"))


def read_card(
    folder: Path, read: Callable[[dict[str, Any]], CardT], *, beside: str, what: str
) -> CardT:
    """The card of a run's folder, as ``read`` makes it of plain values.

    Raises :class:`TrainingError` where it or the file ``beside`` it is missing, so that there is no
    ``what`` here, or where it is none.
    """
    for name in (CARD, beside):
        if not (folder / name).is_file():
            raise TrainingError(f"{folder}: no {what} here ({name} is missing): {AGAIN}")
    try:
        return read(read_object(folder / CARD))
    except (ValueError, TrainingError) as error:
        raise TrainingError(
            f"{folder / CARD}: not a readable card ({error!s:.300}): {AGAIN}"
        ) from error


def _digest_of(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""


def load_adapter(path: str | Path) -> Adapter:
    """The adapter in a run's folder (or at its ``adapter.safetensors``), on the CPU.

    Raises :class:`TrainingError` where a file is missing, damaged or of another run.
    """
    path = Path(path)
    folder = path.parent if path.name == WEIGHTS else path
    card = read_card(folder, AdapterCard.from_json, beside=WEIGHTS, what="trained adapter")
    weights = checked_tensors(folder / WEIGHTS, card.weights_digest)
    # Before the network takes memory: a card may name any size.
    with torch.device("meta"):
        expected = build_network(card.shape).state_dict()
    if {n: t.shape for n, t in expected.items()} != {n: t.shape for n, t in weights.items()}:
        raise TrainingError(f"{folder / WEIGHTS}: not the weights of the card's network: {AGAIN}")
    network = build_network(card.shape)
    network.load_state_dict(weights)
    if not card.prompts_digest:
        return Adapter(network, card)
    size = (card.shape.labels, card.shape.dim)
    return Adapter(network, card, read_label_prompts(folder, card.prompts_digest, size))


def read_label_prompts(folder: Path, digest: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """What :func:`save_prompts` wrote, of this digest and size; else :class:`TrainingError`."""
    found = checked_tensors(folder / PROMPTS, digest).get("prompts")
    if found is None or found.shape != size:
        raise TrainingError(f"{folder / PROMPTS}: not the prompts of these labels: {AGAIN}")
    return found.numpy()


def checked_tensors(path: Path, digest: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, which must be the one that the card names; else TrainingError."""
    try:
        if file_digest(path) != digest:
            raise TrainingError(f"{path}: damaged, or of another run than {CARD}: {AGAIN}")
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: cannot be read: {AGAIN}") from error


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file whole; saving to a file holds one copy of the data, not two."""
    plain = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    write_whole(path, lambda part: save_file(plain, part, metadata))
