"""From a store and a configuration to the data of a training: known labels, shift, source.

D embedding dimension, N labels. Everything is read at pinned table versions, so that a resumed run
sees what it began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.freed_memory import give_back, keep_large_blocks_apart
from taistore.adapter.inputs.image_sides import SideBuilder
from taistore.adapter.inputs.read_tables import read_versions
from taistore.adapter.inputs.synthetic_rows import (
    describe_synthetic,
    require_synthetic,
    synthetic_stream,
)
from taistore.adapter.known_labels import (
    describe_known,
    known_labels,
    read_known,
    require_texts,
    save_known,
)
from taistore.adapter.loop import BatchSource
from taistore.adapter.run_files.kept.kept_shift import read_image_side, save_image_side
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.settings.auto_settings import ALL_IMAGES
from taistore.adapter.steps import (
    CombinationSource,
    ImageSource,
    MixedSource,
    Source,
    Step,
    image_stream,
    text_stream,
)
from taistore.adapter.text_weights import TextWeights, text_weights
from taistore.defaults import FEW_IMAGES
from taistore.encoders.precision import resolve_device
from taistore.errors import TrainingError
from taistore.geometry.centroids import (
    CombinationCentroids,
    combination_centroids,
    stored_combinations,
)
from taistore.geometry.offsets import ImageSide, Shift
from taistore.geometry.unlabelled.discriminant import (
    MOST_IMAGES,
    Discriminant,
    gaussian_discriminant,
)
from taistore.geometry.unlabelled.image_sample import ImageSample
from taistore.progress import Progress, no_progress
from taistore.store.combination_rows import CombinationIndex
from taistore.store.lance_errors import VersionGoneError
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.stream import VectorStream, VectorSummary

SAMPLE_ROWS = 2048
"""Texts or images over which a finished network's logits are measured."""

UNLABELLED_FROM = FEW_IMAGES
"""Images of its split from which on ``zsl`` goes by their vectors unless told otherwise."""

_SINGLE = 4
"""Reads of images that are mostly enough to tell, before the ids of all vectors are read."""


@dataclass(kw_only=True)
class Preparation:
    """The data of a run; :meth:`fresh` for a new one, :meth:`again` for one to be resumed."""

    store: Store
    encoder_id: str
    config: TrainConfig
    known: PartialLabels | None
    versions: Mapping[str, int]
    image_side: ImageSide | None = None
    searched: str = ""

    @classmethod
    def fresh(cls, store: Store, encoder_id: str, config: TrainConfig) -> "Preparation":
        """At the newest table versions. Raises :class:`TrainingError` where data are missing."""
        keep_large_blocks_apart()
        require_texts(store, encoder_id)
        if config.uses_synthetic:
            require_synthetic(store, encoder_id)
        # Versions first: what arrives while the labels are read has no vector in the run.
        versions = read_versions(store, encoder_id, config)
        known = known_labels(store, config) if config.uses_images else None
        return cls(
            store=store, encoder_id=encoder_id, config=config, known=known, versions=versions
        )

    @classmethod
    def again(cls, store: Store, start: RunStart, *, folder: Path) -> "Preparation":
        """As the run in ``folder`` began."""
        keep_large_blocks_apart()
        return cls(
            store=store,
            encoder_id=start.encoder_id,
            config=start.config,
            known=read_known(folder) if start.config.uses_images else None,
            versions=start.table_versions,
            image_side=read_image_side(folder),
        )

    def save(self, folder: Path) -> None:
        """Keep what :meth:`again` cannot read from the store, or should not compute anew."""
        if self.known is not None:
            save_known(folder, self.known)
        if self.image_side is not None:
            save_image_side(folder, self.image_side)

    def texts(self) -> VectorStream:
        """The texts; raises :class:`TrainingError` where the run's version of them is gone."""
        try:
            return text_stream(
                self.store,
                self.encoder_id,
                batch=self.config.texts_of_a_step,
                seed=self.config.seed,
                positives=self._index.positives,
                positions=self._positions,
                version=self._version("text_vectors"),
            )
        except VersionGoneError as error:
            raise self._gone("text_vectors") from error

    @cached_property
    def _index(self) -> CombinationIndex:
        return self.store.combination_index()

    @cached_property
    def _weights(self) -> TextWeights | None:
        weights = self.config.writer_weights
        if not weights:
            return None
        found = text_weights(self.store, self.encoder_id, weights, versions=self.versions)
        return found if self._seen is None else found.among(self._seen)

    @property
    def _positions(self) -> NDArray[np.int64] | None:
        """The rows of the text vectors that are learnt from; None: all."""
        return self._seen if self._weights is None else self._weights.positions

    @cached_property
    def _seen(self) -> NDArray[np.int64] | None:
        """The texts that name a label of the run; None where all do."""
        if self.store.view.is_whole:
            return None
        version = self._version("text_vectors")
        ids = stored_combinations(self.store, "text_vectors", self.encoder_id, version)
        counts_T, _ = self._index.positives(ids)
        if not counts_T.any():
            raise TrainingError(
                f"{self.store.uri}: no text names any of these labels: write some with "
                "'taistore generate-texts'"
            )
        return None if counts_T.all() else np.flatnonzero(counts_T)

    def images(self) -> VectorStream | None:
        """The labelled or the synthetic images, where the loss takes any."""
        config = self.config
        if not config.images_in_loss:
            return None
        kind = "synthetic_vectors" if config.synthetic_in_loss else "image_vectors"
        try:
            if config.synthetic_in_loss:
                return synthetic_stream(
                    self.store,
                    self.encoder_id,
                    self._index,
                    batch=config.image_batch,
                    seed=config.seed,
                    version=self._version(kind),
                )
            assert self.known is not None, "what is labelled was read"
            return image_stream(
                self.store,
                self.encoder_id,
                self.known,
                batch=config.image_batch,
                seed=config.seed,
                version=self._version(kind),
            )
        except VersionGoneError as error:
            raise self._gone(kind) from error

    def shift(self, progress: Progress = no_progress) -> Shift | None:
        """Offsets of every combination (Eq. 9), where the configuration moves the texts."""
        if self.config.shift == "none":
            return None
        index = self._index
        texts = combination_centroids(
            self.store,
            self.encoder_id,
            index=index,
            version=self._version("text_vectors"),
            progress=progress,
        )
        if self.image_side is None:
            self.image_side = self._image_side(texts, progress)
        give_back()
        return Shift(self.image_side, texts, index)

    def _image_side(self, texts: CombinationCentroids, progress: Progress) -> ImageSide:
        builder = SideBuilder(
            store=self.store,
            encoder_id=self.encoder_id,
            config=self.config,
            versions=self.versions,
            device=self._device,
            progress=progress,
        )
        if self.config.shift == "synthetic":
            return builder.of_synthetic(texts, self._index)
        assert self.known is not None, "every other shift goes by images"
        side = builder.of_images(self.known, texts, self._index)
        self.searched = builder.searched
        return side

    def report(self, shift: Shift | None) -> dict[str, float | str]:
        """What a fresh run's shift rests on, and which index found the neighbours."""
        if shift is None:
            return {}
        found: dict[str, float | str] = {**shift.report()}
        return found | {"neighbour_index": self.searched} if self.searched else found

    def discriminant(self, prompts_ND: NDArray[np.float32]) -> Discriminant | None:
        """What unlabelled images tell, where the texts are moved by them and by nothing else."""
        if self.known is None or self.config.task != "zsl" or self.config.shift == "none":
            return None
        images = self._unlabelled
        return gaussian_discriminant(images, torch.from_numpy(prompts_ND)) if len(images) else None

    def measured_images(self) -> ImageSample | None:
        """Images over whose logits labels compete; None where there are few, or none is used."""
        if self.known is None or len(self.known) < UNLABELLED_FROM:
            return None
        images = self._unlabelled
        return images.at_most(SAMPLE_ROWS) if len(images) >= UNLABELLED_FROM else None

    @cached_property
    def _unlabelled(self) -> ImageSample:
        """Images of the split, whatever is known of them."""
        assert self.known is not None
        return ImageSample.draw(
            self.store,
            self.encoder_id,
            self.known,
            most=MOST_IMAGES,
            version=self._version("image_vectors"),
        )

    def source(
        self,
        texts: VectorStream,
        images: VectorStream | None,
        shift: Shift | None,
        *,
        radius: float,
        image_radius: float | None,
    ) -> Source:
        """The steps of the run; the radii are in the unit of the vectors."""
        labels = len(self.store.labels)
        text_source = CombinationSource(
            texts,
            labels=labels,
            radius=radius,
            where=self.config.where,
            shift=shift,
            weights=self._weights,
        )
        if images is None or image_radius is None:
            return text_source
        place = self.config.image_place
        found: BatchSource[Step]
        if self.config.synthetic_in_loss:
            found = CombinationSource(images, labels=labels, radius=image_radius, where=place)
        else:
            assert self.known is not None, "what is labelled was read"
            loss = self.config.loss
            found = ImageSource(images, self.known, radius=image_radius, where=place, loss=loss)
        return MixedSource(text_source, found, texts_too=self.config.texts_in_loss)

    def counts(self) -> dict[str, int]:
        """What is known, for the run's metrics; nothing where no image is used."""
        counts = {} if self.known is None else describe_known(self.known, self.config)
        if self.config.uses_synthetic:
            version = self._version("synthetic_vectors")
            counts |= describe_synthetic(self.store, self.encoder_id, self._index, version=version)
        return counts

    @property
    def _device(self) -> str:
        """Where vectors are added up and searched: with the training on a GPU, else on the CPU."""
        device = resolve_device(self.config.device)
        return str(device) if device.type == "cuda" else "cpu"

    def _version(self, kind: str) -> int | None:
        return self.versions.get(self.store.table_name(kind, self.encoder_id))

    def _gone(self, kind: str) -> TrainingError:
        name = self.store.table_name(kind, self.encoder_id)
        return TrainingError(
            f"{self.store.uri}: version {self.versions.get(name)} of {name!r}, which the run "
            "began with, is gone: train a new run"
        )


def settle(store: Store, encoder_id: str, config: TrainConfig) -> TrainConfig:
    """What ``auto`` comes to on this store: ``zsl`` uses unlabelled images where there are many.

    Of many labels a step takes a sample.

    Below :data:`UNLABELLED_FROM` the nearest images of a label are hardly its own. The paper's
    network knows no such shift.
    """
    config = config.settled_for(len(store.labels))
    encoder = store.encoder(encoder_id)
    rn50 = (encoder.library, encoder.model) == ("open_clip", "RN50")
    if config.shift != "auto":
        return config.settled(config.shift, rn50=rn50)
    shifted = config.network == "residual" and _has_many(store, encoder_id, config.split)
    return config.settled("neighbours" if shifted else "none", rn50=rn50)


def _has_many(store: Store, encoder_id: str, split: str) -> bool:
    """Whether the split has :data:`UNLABELLED_FROM` images with a vector."""
    if store.count("image_vectors", encoder_id) < UNLABELLED_FROM:
        return False
    where = None if split == ALL_IMAGES else {"split": split}
    there = 0
    for number, batch in enumerate(store.scan("images", columns=["image_id"], where=where)):
        ids = [str(i) for i in batch.column(0).to_pylist()]
        there += len(ids) - len(
            store.missing("image_vectors", ids, encoder_id=encoder_id, single=number < _SINGLE)
        )
        if there >= UNLABELLED_FROM:
            return True
    return False


def summary(stream: VectorStream) -> VectorSummary:
    """Mean norm and direction of a stream's vectors, which must not all be zero."""
    found = stream.summary()
    if not found.mean_norm > 0:
        raise TrainingError(f"all vectors of {stream.name!r} are zero: encode them again")
    return found
