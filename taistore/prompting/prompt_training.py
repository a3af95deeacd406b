"""Train a prompt learner on the vectors of a store, resumably.

N labels, D embedding dimension.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.data import require_texts
from taistore.adapter.freed_memory import keep_large_blocks_apart
from taistore.adapter.known_labels import describe_known, known_labels, read_known, save_known
from taistore.adapter.loop import BatchSource
from taistore.adapter.run_files.checkpoint import save_prompts
from taistore.adapter.run_files.run_folder import NewRun, folder_of, time_of_new_run
from taistore.adapter.run_files.training_state import Position, load_state, position_of
from taistore.adapter.run_lifecycle import (
    CHECKPOINT_SECONDS,
    OnStart,
    RunResult,
    begin,
    go_on,
)
from taistore.adapter.steps import image_stream
from taistore.encoders.prompt_tower import PromptTower, prompt_tower
from taistore.encoders.protocol import Encoder
from taistore.errors import TrainingError
from taistore.progress import Progress, no_progress
from taistore.prompting.contexts import Contexts, LabelPrompts
from taistore.prompting.examples import (
    Examples,
    ImageExamples,
    TextExamples,
    require_regions,
)
from taistore.prompting.prompt_config import PromptConfig
from taistore.prompting.prompt_job import LearnerJob, LearnerStart
from taistore.store.lance_errors import VersionGoneError
from taistore.store.partial_labels import PartialLabels
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.store.stream import VectorStream
from taistore.texts.rows.token_vectors import write_token_vectors


def train_prompts(
    store: Store,
    encoder: Encoder,
    config: PromptConfig,
    *,
    prompts_ND: NDArray[np.float32],
    out: Path | None = None,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult[PromptConfig]:
    """Learn prompts from labelled images, or from texts, through the encoder's text tower.

    ``prompts_ND`` are the labels' unit prompt vectors, which are kept with the run for its
    zero-shot scores. What texts lack of token vectors is made first. Raises :class:`EncoderError`
    where the encoder has no tower that takes embeddings, :class:`TextError` for a label that does
    not fit behind the context, and :class:`TrainingError` where the store lacks what the method
    learns from, on a loss that is not finite, and where nothing can be written. The rest is that of
    :func:`taistore.adapter.train.train`.
    """
    keep_large_blocks_apart()
    tower = prompt_tower(encoder)
    prompts = _label_prompts(store, tower, config)
    encoder_id = encoder.info.encoder_id
    if config.uses_images:
        versions = store.versions([("images", None), *_vector_tables(config, encoder_id)])
        known = known_labels(store, config)
        require_regions(store, encoder_id, known)
    else:
        known = None
        require_texts(store, encoder_id)
        write_token_vectors(store, encoder, progress=progress)
        versions = store.versions([("combinations", None), *_vector_tables(config, encoder_id)])
    start = LearnerStart(
        encoder_id=encoder_id,
        config=config,
        known={} if known is None else describe_known(known, config),
        table_versions=versions,
        created=time_of_new_run(store).isoformat(),
    )
    source = _source(store, start, known)
    contexts = _contexts(store, tower, config)

    def made(new: NewRun) -> LearnerJob:
        if known is not None:
            save_known(new.folder, known)
        save_prompts(new.folder, prompts_ND)
        return LearnerJob(
            store=store,
            run_id=new.run_id,
            folder=new.folder,
            checkpoint=new.checkpoint,
            start=start,
            network=contexts,
            prompts=prompts,
            source=source,
            checkpoint_seconds=checkpoint_seconds,
        )

    return begin(store, config, made, out=out, progress=progress, on_start=on_start)


def resume_prompts(
    store: Store,
    row: RunRow,
    encoder: Encoder,
    *,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult[PromptConfig]:
    """Continue the run of a row to the contexts that it would have had; a finished one stays."""
    keep_large_blocks_apart()
    config = PromptConfig.from_json(row.config)
    if encoder.info.encoder_id != row.encoder_id:
        raise TrainingError(
            f"run {row.run_id} is of the encoder {row.encoder_id}, and {encoder.info.spec} is now "
            f"{encoder.info.encoder_id}: give the weights that it began with, or train a new run"
        )

    def again(row: RunRow) -> tuple[LearnerJob, int]:
        folder = folder_of(store, row)
        position = _position(folder)
        start = position.start
        tower = prompt_tower(encoder)
        known = read_known(folder) if start.config.uses_images else None
        job = LearnerJob(
            store=store,
            run_id=row.run_id,
            folder=folder,
            checkpoint=row.checkpoint,
            start=start,
            network=_contexts(store, tower, start.config),
            prompts=_label_prompts(store, tower, start.config),
            source=_source(store, start, known),
            checkpoint_seconds=checkpoint_seconds,
        )
        load_state(folder, job.network, job.optimizer, position)
        job.loss = position.loss
        return job, position.step

    return go_on(
        store, row, config, again, require_state=_position, progress=progress, on_start=on_start
    )


def _position(folder: Path) -> Position[LearnerStart]:
    return position_of(folder, LearnerStart.from_json)


def _label_prompts(store: Store, tower: PromptTower, config: PromptConfig) -> LabelPrompts:
    names = [store.labels.prompt_name(label_id) for label_id in range(len(store.labels))]
    return LabelPrompts(tower, names, context=config.context)


def _contexts(store: Store, tower: PromptTower, config: PromptConfig) -> Contexts:
    generator = torch.Generator().manual_seed(config.seed)
    labels = len(store.labels)
    return Contexts(config, tower, labels=labels, generator=generator).to(tower.device)


def _vector_tables(config: PromptConfig, encoder_id: str) -> list[tuple[str, str | None]]:
    kinds = (
        ("image_vectors", "region_vectors")
        if config.uses_images
        else ("text_vectors", "token_vectors")
    )
    return [(kind, encoder_id) for kind in kinds]


def _source(
    store: Store, start: LearnerStart, known: PartialLabels | None
) -> BatchSource[Examples]:
    """The examples of a run, at the table versions that it began with."""
    encoder_id, config, versions = start.encoder_id, start.config, start.table_versions

    def version(kind: str) -> int | None:
        return versions.get(store.table_name(kind, encoder_id))

    try:
        if known is not None:
            images = image_stream(
                store,
                encoder_id,
                known,
                batch=config.batch,
                seed=config.seed,
                version=version("image_vectors"),
            )
            return ImageExamples(
                store, encoder_id, images, known, regions_version=version("region_vectors")
            )
        texts = VectorStream(
            store,
            encoder_id,
            batch_rows=config.batch,
            seed=config.seed,
            key_column="text_id",
            label_column="combination_id",
            version=version("text_vectors"),
        )
    except VersionGoneError as error:
        raise TrainingError(
            f"{store.uri}: a version of the vectors that the run began with is gone: train a new "
            "run"
        ) from error
    return TextExamples(
        store,
        encoder_id,
        texts,
        labels=len(store.labels),
        tokens_version=version("token_vectors"),
    )
