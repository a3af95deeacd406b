"""A training as a project starts it: its configuration, and where it works."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.adapter.config import TrainConfig
from taistore.adapter.train import resume, train
from taistore.run import Run
from taistore.store.places import cache_folder, is_remote, local_path

if TYPE_CHECKING:
    from taistore.adapter.train import RunResult
    from taistore.project import Project

OnStart = Callable[[str], None]


def train_config(
    config: TrainConfig | str | Path | None, settings: Mapping[str, Any], *, device: str
) -> TrainConfig:
    """A configuration, or that of a file, with ``settings`` in it; ``device`` where none is."""
    if config is None:
        return TrainConfig.of(**{"device": device, **settings})
    if isinstance(config, TrainConfig):
        return replace(config, **settings)
    return TrainConfig.from_file(config, **settings)


def trained_run(
    project: "Project",
    config: TrainConfig,
    *,
    encoder: str | None,
    out: str | Path | None,
    on_start: OnStart | None,
) -> Run:
    """Train an adapter; ``out`` must be on this machine's disk."""
    folder = None if out is None else local_path(out, option="out")
    result = train(
        project.store,
        project.encoder_info(encoder).encoder_id,
        config,
        prompts_ND=project.label_prompts(encoder),
        out=folder,
        progress=project.progress,
        on_start=_started(project, on_start, out),
    )
    return _run_of(project, result)


def resumed_run(
    project: "Project", run_id: str, *, device: str | None, on_start: OnStart | None
) -> Run:
    """Go on with a training that was stopped."""
    result = resume(
        project.store,
        run_id,
        device=device,
        progress=project.progress,
        on_start=_started(project, on_start, None),
    )
    return _run_of(project, result)


def _run_of(project: "Project", result: "RunResult") -> Run:
    return Run(project, project.store.run(result.run_id), training=result)


def _started(project: "Project", on_start: OnStart | None, out: str | Path | None) -> OnStart:
    """``on_start``, and with an object store a line about where the run works meanwhile."""

    def started(run_id: str) -> None:
        if on_start is not None:
            on_start(run_id)
        if is_remote(project.uri):
            folder = cache_folder(project.uri, run_id) if out is None else Path(out).absolute()
            project.note(f"works in {folder}, kept at {project.uri}/runs/{run_id}")

    return started
