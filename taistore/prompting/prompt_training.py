"""Train a prompt learner on the vectors of a store, resumably.

N labels, D embedding dimension.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.adapter.freed_memory import keep_large_blocks_apart
from taistore.adapter.known_labels import describe_known, known_labels, read_known, save_known
from taistore.adapter.run_files.checkpoint import save_prompts
from taistore.adapter.run_files.kept.run_labels import save_run_labels, seen_by_run
from taistore.adapter.run_files.run_folder import NewRun, folder_of, time_of_new_run
from taistore.adapter.run_files.training_state import Position, load_state, position_of
from taistore.adapter.run_lifecycle import (
    CHECKPOINT_SECONDS,
    OnStart,
    RunResult,
    begin,
    go_on,
)
from taistore.encoders.prompt_tower import PromptTower, prompt_tower
from taistore.encoders.protocol import Encoder
from taistore.errors import TrainingError
from taistore.progress import Progress, no_progress
from taistore.prompting.branches import branches, require_vectors, tables_of
from taistore.prompting.contexts import Contexts, LabelPrompts
from taistore.prompting.examples import require_regions
from taistore.prompting.prompt_config import PromptConfig
from taistore.prompting.prompt_job import LearnerJob, LearnerStart
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
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
    name: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult[PromptConfig]:
    """Learn prompts from labelled images, or from texts, through the encoder's text tower.

    ``prompts_ND`` are the labels' unit prompt vectors, which are kept with the run for its
    zero-shot scores, and what T2I-PAL's prototypes begin as. What texts lack of token vectors is
    made first. Raises :class:`EncoderError` where the encoder has no tower that takes embeddings,
    :class:`TextError` for a label that does not fit behind the context, and :class:`TrainingError`
    where the store lacks what the method learns from, on a loss that is not finite, and where
    nothing can be written. The rest is that of :func:`taistore.adapter.train.train`.
    """
    keep_large_blocks_apart()
    tower = prompt_tower(encoder)
    prompts = _label_prompts(store, tower, config)
    encoder_id = encoder.info.encoder_id
    require_vectors(store, encoder_id, config)
    if "texts" in config.kinds:
        write_token_vectors(store, encoder, progress=progress)
    versions = store.versions(tables_of(config, encoder_id))
    known = None
    if config.uses_images:
        known = known_labels(store, config)
        require_regions(store, encoder_id, known)
    start = LearnerStart(
        encoder_id=encoder_id,
        config=config,
        known={} if known is None else describe_known(known, config),
        table_versions=versions,
        created=time_of_new_run(store).isoformat(),
    )
    source = branches(store, encoder_id, config, known=known, versions=versions)
    contexts = _contexts(tower, config, torch.from_numpy(prompts_ND))

    def made(new: NewRun) -> LearnerJob:
        save_run_labels(new.folder, store.labels.keys)
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

    return begin(store, config, made, out=out, progress=progress, on_start=on_start, name=name)


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
    store = seen_by_run(store, row)
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
        nothing_ND = torch.zeros(len(store.labels), encoder.info.dim)
        job = LearnerJob(
            store=store,
            run_id=row.run_id,
            folder=folder,
            checkpoint=row.checkpoint,
            start=start,
            network=_contexts(tower, start.config, nothing_ND),
            prompts=_label_prompts(store, tower, start.config),
            source=branches(
                store, start.encoder_id, start.config, known=known, versions=start.table_versions
            ),
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


def _contexts(tower: PromptTower, config: PromptConfig, prompts_ND: Tensor) -> Contexts:
    generator = torch.Generator().manual_seed(config.seed)
    return Contexts(config, tower, prompts_ND=prompts_ND, generator=generator).to(tower.device)
