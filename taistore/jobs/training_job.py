"""A training as a project starts it: its method, its configuration, and where it works."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_lifecycle import unfinished
from taistore.adapter.settings.recorded_settings import read_settings
from taistore.adapter.train import resume, train
from taistore.errors import TrainingError
from taistore.prompting.prompt_config import METHODS, PromptConfig
from taistore.prompting.prompt_training import resume_prompts, train_prompts
from taistore.run import Run
from taistore.store.places import cache_folder, is_remote, local_path
from taistore.texts.generate import texts_per_label

if TYPE_CHECKING:
    from taistore.adapter.run_lifecycle import RunResult
    from taistore.encoders.protocol import Encoder
    from taistore.project import Project

OnStart = Callable[[str], None]

ADAPTER = "adapter"

AnyConfig = TrainConfig | PromptConfig


def train_config(
    config: AnyConfig | str | Path | None,
    settings: Mapping[str, Any],
    *,
    method: str | None,
    device: str,
) -> AnyConfig:
    """A configuration, or that of a file, with ``settings`` in it; ``device`` where none is.

    ``method`` None is that of the configuration, else the adapter. Prompts are learnt where their
    encoder is: of them ``settings`` have no device. ``paper`` among them stands for the published
    settings, which prompt learners have anyway.
    """
    settings = dict(settings)
    if settings.pop("paper", False):
        if config is not None:
            raise TrainingError(
                "paper= and config= both say what the settings are: leave one of them out"
            )
        if method in (None, ADAPTER) and settings.setdefault("network", "paper") != "paper":
            raise TrainingError(
                f"paper= is network=paper, not {settings['network']!r:.80}: leave one of them out"
            )
    if isinstance(config, TrainConfig | PromptConfig):
        own = config.method if isinstance(config, PromptConfig) else ADAPTER
        if method not in (None, own):
            raise TrainingError(f"method {method!r} is not that of the configuration, {own}")
        return replace(config, **settings)
    if config is not None:
        return _of_file(Path(config), settings, method=method)
    return _of_settings({"device": device, **settings}, method or ADAPTER)


def _of_file(path: Path, settings: Mapping[str, Any], *, method: str | None) -> AnyConfig:
    """That of a file, which is named in what is wrong."""
    read, _ = read_settings(path)
    if (chosen := method or read.get("method", ADAPTER)) == ADAPTER:
        return TrainConfig.from_file(path, **settings)
    try:
        return _of_settings({**read, **settings}, chosen)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error


def _of_settings(settings: Mapping[str, Any], method: Any) -> AnyConfig:
    if method == ADAPTER:
        return TrainConfig.of(**settings)
    if method not in METHODS:
        raise TrainingError(
            f"method {method!r:.80} is unknown: give one of {', '.join((ADAPTER, *METHODS))}"
        )
    mine = {name: value for name, value in settings.items() if name not in ("device", "method")}
    return PromptConfig.of(method, **mine)


def trained_run(
    project: "Project",
    config: AnyConfig,
    *,
    encoder: str | None,
    out: str | Path | None,
    on_start: OnStart | None,
    name: str | None = None,
) -> Run:
    """Train an adapter or prompts; ``out`` must be on this machine's disk."""
    folder = None if out is None else local_path(out, option="out")
    if isinstance(config, TrainConfig) and config.from_run:
        # "latest" may be another run in a moment.
        config = replace(config, from_run=project.store.run(config.from_run).run_id)
    _note_labels_without_text(project)
    started = _started(project, on_start, out)
    result: RunResult[Any]
    if isinstance(config, PromptConfig):
        result = train_prompts(
            project.store,
            _tower_encoder(project, encoder),
            config,
            prompts_ND=project.label_prompts(encoder),
            out=folder,
            progress=project.progress,
            on_start=started,
            name=name,
        )
    else:
        result = train(
            project.store,
            project.encoder_info(encoder).encoder_id,
            config,
            prompts_ND=project.label_prompts(encoder),
            out=folder,
            progress=project.progress,
            on_start=started,
            name=name,
        )
    return _run_of(project, result)


def resumed_run(
    project: "Project", run_id: str, *, device: str | None, on_start: OnStart | None
) -> Run:
    """Go on with a training that was stopped."""
    store = project.store
    row = unfinished(store) if run_id == "latest" else store.run(run_id)
    started = _started(project, on_start, None)
    result: RunResult[Any]
    if row.config.get("method") in METHODS:
        encoder = project.tower_encoder(store.encoder(row.encoder_id).spec)
        result = resume_prompts(store, row, encoder, progress=project.progress, on_start=started)
    else:
        result = resume(
            store, row.run_id, device=device, progress=project.progress, on_start=started
        )
    return _run_of(project, result)


def _note_labels_without_text(project: "Project") -> None:
    """Labels that were added need captions, which nobody may have written yet."""
    view = project.store.view
    if not view.additions.any():
        return
    counts_N = texts_per_label(project.store)
    lacking = [label.name for label, count in zip(view.labels, counts_N, strict=True) if not count]
    if lacking:
        project.note(
            f"note: no caption names {len(lacking):,} of {len(view.labels):,} labels, such as "
            f"{lacking[0]!r:.80}: 'taistore generate-texts' writes some"
        )


def _tower_encoder(project: "Project", spec: str | None) -> "Encoder":
    """The encoder that the store has vectors of, loaded, with a text tower that takes embeddings.

    Raises :class:`EncoderError` where it has no such tower, and :class:`StoreError` where its
    weights are no longer those that the vectors were made with.
    """
    project.encoder_info(spec)
    project.tower_encoder(spec)
    return project.encoder(spec)


def _run_of(project: "Project", result: "RunResult[Any]") -> Run:
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
