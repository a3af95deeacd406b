"""Captions of a writer that is opened for the job, and what belongs to them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taistore.jobs.upkeep import tidy
from taistore.texts.generate import generate_texts
from taistore.texts.generate_config import GenerateConfig, GenerateSummary
from taistore.texts.label_prompts import prompt_vectors
from taistore.texts.rows.token_vectors import write_token_vectors
from taistore.texts.writer import TextWriter
from taistore.texts.writers import open_writer

if TYPE_CHECKING:
    from taistore.project import Project


def generate(
    project: "Project",
    config: GenerateConfig,
    *,
    writer: str | TextWriter,
    options: Mapping[str, Any],
    encoder: str | None,
    tokens: bool,
) -> GenerateSummary:
    """What :meth:`taistore.project.Project.generate_texts` does, with its ``writer`` and options.

    The prompts of the labels are encoded as well, so that a training finds them.
    """
    # The writer first: a server that is not there should not cost the loading of an encoder,
    # and vLLM wants its share of the GPU's memory while that is free.
    opening: AbstractContextManager[TextWriter]
    if isinstance(writer, str):
        opening = open_writer(writer, project.labels, **options)
    else:
        opening = nullcontext(writer)
    if model := options.get("model"):
        project.note(f"opening {model}")
    with opening as opened:
        for line in getattr(opened, "notes", ()):
            project.note(line)
        if tokens:
            project.tower_encoder(encoder)  # refused before a text is written
        loaded = project.encoder(encoder) if tokens else project.waiting_encoder(encoder)
        summary = generate_texts(
            project.store, loaded, config, writer=opened, progress=project.progress
        )
    if tokens:
        made = write_token_vectors(project.store, loaded, progress=project.progress)
        summary = replace(summary, token_vectors=made)
    prompt_vectors(project.store, loaded, progress=project.progress)
    tidy(project)
    return summary


def caption_config(
    labels: int, *, max_labels: int, texts_per_combination: int | None, **settings: Any
) -> GenerateConfig:
    """Captions of 1 to ``max_labels`` of all ``labels``, each number as often."""
    if texts_per_combination is not None:
        settings["texts_per_combination"] = texts_per_combination
    sizes = dict.fromkeys(range(1, min(max_labels, labels) + 1), 1.0)
    return GenerateConfig(sizes=sizes, **settings)
