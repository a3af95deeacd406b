"""What a step of a prompt learner takes: texts, images, or a batch of each, as T2I-PAL does.

An epoch is one pass over the texts where the method knows of texts, and one over the labelled
images where it does not.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from taistore.adapter.known_labels import require_texts
from taistore.adapter.loop import BatchSource
from taistore.adapter.steps import image_stream
from taistore.errors import TrainingError
from taistore.prompting.examples import (
    Examples,
    ImageExamples,
    Parts,
    TextExamples,
    require_synthetic,
    together,
)
from taistore.prompting.prompt_config import Kind, PromptConfig
from taistore.store.lance_errors import VersionGoneError
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.stream import VectorStream

Step = tuple[Examples, ...]
"""The batches of one step, each with its share of the loss: see ``PromptConfig.shares``."""

_TABLES: Mapping[Kind, tuple[str, str]] = {
    "texts": ("text_vectors", "token_vectors"),
    "synthetic": ("synthetic_vectors", "synthetic_regions"),
    "images": ("image_vectors", "region_vectors"),
}
"""Vectors of the whole, and of its parts."""

_KEYS: Mapping[Kind, str] = {"texts": "text_id", "synthetic": "synthetic_id"}
_PARTS: Mapping[Kind, Parts] = {"texts": "token", "synthetic": "region"}


class Branches:
    """Texts and images side by side: a step takes a batch of texts, and one of each kind of image.

    The images of a step are one batch. All that is not first is passed over as often as an epoch
    of ``steps`` steps takes, each time in another order, so that a step is the same whatever went
    before it.
    """

    def __init__(
        self,
        texts: BatchSource[Examples] | None,
        images: Sequence[BatchSource[Examples]],
        *,
        steps: int,
    ) -> None:
        self._texts = texts
        self._images = images
        self._steps = steps

    @property
    def batches_per_epoch(self) -> int:
        """Steps of every epoch."""
        return self._steps

    def batches(self, *, epoch: int, start: int) -> Iterator[Step]:
        """Steps of an epoch from ``start`` on."""
        done = epoch * self._steps + start
        branches: list[Iterator[Examples]] = []
        if self._texts is not None:
            branches.append(self._texts.batches(epoch=epoch, start=start))
        if self._images:
            sources = [_endless(source, done) for source in self._images]
            branches.append(_as_one(sources))
        yield from itertools.islice(zip(*branches, strict=False), self._steps - start)


def _endless(source: BatchSource[Examples], step: int) -> Iterator[Examples]:
    """The batches from a step on, an epoch after the other."""
    epoch, start = divmod(step, source.batches_per_epoch)
    while True:
        yield from source.batches(epoch=epoch, start=start)
        epoch, start = epoch + 1, 0


def _as_one(sources: Sequence[Iterator[Examples]]) -> Iterator[Examples]:
    while True:
        first, *others = (next(source) for source in sources)
        for other in others:
            first = together(first, other)
        yield first


def tables_of(config: PromptConfig, encoder_id: str) -> list[tuple[str, str | None]]:
    """The tables that a run reads, by kind and encoder."""
    plain = ["images"] if config.uses_images else []
    vectors = set(itertools.chain(*(_TABLES[kind] for kind in config.kinds)))
    if _texts_set_the_length(config):
        plain.append("combinations")
        vectors.add("text_vectors")
    return [*((kind, None) for kind in plain), *((kind, encoder_id) for kind in sorted(vectors))]


def require_vectors(store: Store, encoder_id: str, config: PromptConfig) -> None:
    """Raise :class:`TrainingError` where there are no texts to learn from, or no images made of
    them; labelled images are another matter."""
    if _texts_set_the_length(config):
        require_texts(store, encoder_id)
    if "synthetic" in config.kinds:
        require_synthetic(store, encoder_id)


def branches(
    store: Store,
    encoder_id: str,
    config: PromptConfig,
    *,
    known: PartialLabels | None,
    versions: Mapping[str, int],
) -> Branches:
    """The steps of a run, at these versions of its tables.

    ``known`` are the labelled images, None where it learns from none. Raises
    :class:`TrainingError` where a version is gone.
    """

    def version(kind: str) -> int | None:
        return versions.get(store.table_name(kind, encoder_id))

    def of_texts(kind: Kind) -> VectorStream:
        whole, _ = _TABLES[kind]
        return VectorStream(
            store,
            encoder_id,
            batch_rows=config.batch,
            seed=config.seed,
            kind=whole,
            key_column=_KEYS[kind],
            label_column="combination_id",
            version=version(whole),
        )

    def examples(kind: Kind) -> BatchSource[Examples]:
        whole, parts = _TABLES[kind]
        if kind != "images":
            return TextExamples(
                store,
                encoder_id,
                of_texts(kind),
                labels=len(store.labels),
                parts=_PARTS[kind],
                parts_version=version(parts),
            )
        assert known is not None
        images = image_stream(
            store,
            encoder_id,
            known,
            batch=config.batch,
            seed=config.seed,
            version=version(whole),
        )
        return ImageExamples(store, encoder_id, images, known, regions_version=version(parts))

    try:
        made = {kind: examples(kind) for kind in config.kinds}
        texts = made.pop("texts", None)
        images = list(made.values())
        if texts is not None:
            steps = texts.batches_per_epoch
        elif _texts_set_the_length(config):
            steps = of_texts("texts").batches_per_epoch
        else:
            steps = images[0].batches_per_epoch
    except VersionGoneError as error:
        raise TrainingError(
            f"{store.uri}: a version of the vectors that the run began with is gone: train a new "
            "run"
        ) from error
    return Branches(texts, images, steps=steps)


def _texts_set_the_length(config: PromptConfig) -> bool:
    return config.kinds != ("images",)
