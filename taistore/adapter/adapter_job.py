"""The training of an adapter: perturbed batches, their loss, the final card.

B batch, D embedding dimension, N labels, P positives of a batch.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.data import SAMPLE_ROWS
from taistore.adapter.loop import TrainingLoop, library_versions
from taistore.adapter.loss import bce_value, sparse_bce
from taistore.adapter.network import AdapterNetwork, Residual
from taistore.adapter.optimizer import AdamW, one_cycle
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.sampled.sampled_step import SampledStep, ShakenBatch
from taistore.adapter.steps import Source, Step, TrainingBatch
from taistore.geometry.perturbation import perturb
from taistore.geometry.unlabelled.image_sample import ImageSample

BF16_FROM_BATCH = 256


@dataclass(kw_only=True)
class TrainingJob(TrainingLoop[RunStart, AdapterNetwork, Step]):
    """The training of an adapter from a step to its end."""

    source: Source
    optimizer: AdamW = field(init=False)
    images: ImageSample | None = None

    def __post_init__(self) -> None:
        self.config = self.start.config
        labels, size = self.start.shape.labels, self.config.labels_of_a_step
        self.sampled: SampledStep | None = None
        if 0 < size < labels:
            self.sampled = SampledStep(
                self.network,
                labels=labels,
                size=size,
                total=self.total,
                lr=self.config.top_rate,
                weight_decay=self.config.weight_decay,
                seed=self.config.seed,
            )
            self.optimizer = self.sampled.optimizer
        else:
            self.optimizer = AdamW(self.network, weight_decay=self.config.weight_decay)
        super().__post_init__()

    def start_residual(
        self,
        network: Residual,
        prompts_ND: NDArray[np.float32],
        mean_unit_D: NDArray[np.float32],
        *,
        scale: float | None = None,
    ) -> None:
        """Set zero-shot up from the prompts and a sample of the perturbed texts.

        ``scale`` is that of a run that this one goes on from.
        """
        sample = self._sample()
        # No step has this number.
        self.seed(self.total)
        network.start_from(
            torch.from_numpy(prompts_ND).to(self.device),
            torch.from_numpy(mean_unit_D).to(self.device),
            self._perturbed(sample),
            len(sample.positives) / (len(sample.vectors) * network.linear.out_features),
            deviation=self.config.start_deviation,
            scale=scale,
        )

    def _sample(self) -> TrainingBatch:
        """The first texts of the first epoch as one batch."""
        parts: list[TrainingBatch] = []
        rows = 0
        for batch in self.source.texts():
            shift = rows * self.start.shape.labels
            parts.append(batch._replace(positives=batch.positives + shift))
            rows += len(batch.vectors)
            if rows >= SAMPLE_ROWS:
                break
        return TrainingBatch(
            torch.cat([part.vectors for part in parts]),
            torch.cat([part.positives for part in parts]),
            parts[0].radius,
            parts[0].where,
        )

    def _perturbed(self, batch: TrainingBatch) -> torch.Tensor:
        return perturb(
            batch.vectors.to(self.device, non_blocking=True).float(),
            batch.radius,
            where=batch.where,
            generator=self.generator,
            in_place=True,
        )

    def _competition(self) -> tuple[float, float]:
        """Spread and energy of the finished network's logits over images, else over texts.

        Where texts and images lie apart, images excite all labels otherwise than texts do: it is
        within an image that labels compete.
        """
        self.network.eval()
        with torch.inference_mode():
            if self.images is None:
                logits_BN = self._logits(self._sample().vectors)
                deviation = logits_BN.std(correction=0)
            else:
                logits_BN = torch.cat([self._logits(block) for block in self.images.blocks()])
                centred_BN = logits_BN - logits_BN.mean(dim=1, keepdim=True)
                deviation = centred_BN.square().mean().sqrt()
            spread = float(deviation.clamp_min(1e-6))
            energy = spread * torch.logsumexp(logits_BN / spread, dim=1).mean()
        return spread, float(energy)

    def _logits(self, vectors_BD: torch.Tensor) -> torch.Tensor:
        logits_BN: torch.Tensor = self.network(vectors_BD.to(self.device).float())
        return logits_BN.float()

    def learn(self, step: int, batch: Step, *, value: bool) -> float:
        """Add the gradients of the step's batches."""
        if self.sampled is not None:
            shaken = [self._shaken(one) for one in batch]
            return self.sampled.learn(step, shaken, self.generator, value=value)
        return sum(self._backward(self._shaken(one), value=value) for one in batch)

    def move(self, step: int) -> None:
        """A step of AdamW on the 1-cycle."""
        if self.sampled is not None:
            self.sampled.move(step)
            return
        lr, momentum = one_cycle(step, self.total, self.config.top_rate)
        self.optimizer.step(lr=lr, momentum=momentum)

    def advice(self, batch: Step) -> str:
        """The learning rate, or the noise."""
        return f"lr ({self.config.top_rate:g}) or radius ({batch[0].radius:g})"

    def finish(self, metrics: dict[str, float]) -> None:
        """Weights and card."""
        if self.sampled is not None:
            self.sampled.optimizer.catch_up(self.total)
        save_adapter(self.folder, self.network, self._card(metrics))

    def _shaken(self, batch: TrainingBatch) -> ShakenBatch:
        """The batch on the network's device, perturbed."""
        vectors_BD = self._perturbed(batch)
        others = (
            None if one is None else one.to(self.device, non_blocking=True)
            for one in (batch.negatives, batch.row_weights)
        )
        return ShakenBatch(vectors_BD, batch.positives.to(self.device, non_blocking=True), *others)

    def _backward(self, batch: ShakenBatch, *, value: bool) -> float:
        """Add the gradients of one batch; returns its loss where the ``value`` is wanted."""
        vectors_BD, positives_P, negatives_Q, row_weights = batch
        bf16 = self.device.type == "cuda" and self.config.texts_of_a_step >= BF16_FROM_BATCH
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits_BN = self.network(vectors_BD, self.generator)
        torch.autograd.backward(
            sparse_bce(
                logits_BN,
                positives_P,
                negatives_Q,
                row_weights=row_weights,
            )
        )
        if not value:
            return math.nan
        return bce_value(logits_BN.detach(), positives_P, negatives_Q, row_weights=row_weights)

    def _card(self, metrics: dict[str, float]) -> AdapterCard:
        spread, energy = self._competition()
        return AdapterCard(
            run_id=self.run_id,
            config=self.config,
            encoder=self.store.encoder(self.start.encoder_id),
            shape=self.start.shape,
            label_keys=tuple(self.store.labels.keys),
            label_names=tuple(label.name for label in self.store.labels),
            mean_text_norm=self.start.mean_text_norm,
            radius=self.start.radius,
            image_radius=self.start.image_radius,
            table_versions=self.start.table_versions,
            library_versions=library_versions(),
            metrics=metrics,
            created=self.start.created,
            logit_spread=spread,
            logit_energy=energy,
            logits_of="texts" if self.images is None else "images",
            weights_digest="",
        )
