"""The runs behind a table: one that is there is used, one that was stopped goes on."""

from collections.abc import Callable, Mapping
from typing import Any

from taistore.adapter.config import TrainConfig
from taistore.adapter.train import resume, train
from taistore.encoders.protocol import Encoder
from taistore.errors import TrainingError
from taistore.progress import Note, Progress
from taistore.prompting.prompt_config import METHODS, PromptConfig
from taistore.prompting.prompt_training import resume_prompts, train_prompts
from taistore.reproduction.set_stores import ReadyStore
from taistore.store.run_rows import RunRow


class TableRuns:
    """Finds, resumes or trains; ``used`` are all run ids, ``trained`` how many were trained now."""

    def __init__(
        self, ready: ReadyStore, encoder: Encoder, *, progress: Progress, note: Note
    ) -> None:
        self._ready = ready
        self._encoder = encoder
        self._progress = progress
        self._note = note
        self.used: dict[str, None] = {}
        self.trained = 0

    def of_adapter(self, config: TrainConfig) -> str:
        """The finished run of an adapter with these settings."""
        store, progress = self._ready.store, self._progress
        return self._run(
            config,
            go_on=lambda row: resume(store, row.run_id, progress=progress).run_id,
            make=lambda: (
                train(
                    store,
                    self._ready.encoder_id,
                    config,
                    prompts_ND=self._ready.prompts_ND,
                    progress=progress,
                ).run_id
            ),
        )

    def of_learner(self, config: PromptConfig) -> str:
        """The finished run of a prompt learner with these settings."""
        store, progress = self._ready.store, self._progress
        return self._run(
            config,
            go_on=lambda row: resume_prompts(store, row, self._encoder, progress=progress).run_id,
            make=lambda: (
                train_prompts(
                    store,
                    self._encoder,
                    config,
                    prompts_ND=self._ready.prompts_ND,
                    progress=progress,
                ).run_id
            ),
        )

    def _run(
        self,
        config: TrainConfig | PromptConfig,
        *,
        go_on: Callable[[RunRow], str],
        make: Callable[[], str],
    ) -> str:
        run_id = self._found_or_made(_settings(config), go_on, make)
        self.used[run_id] = None
        return run_id

    def _found_or_made(
        self,
        wanted: Mapping[str, object],
        go_on: Callable[[RunRow], str],
        make: Callable[[], str],
    ) -> str:
        unfinished = None
        for row in self._ready.store.runs():
            if row.encoder_id == self._ready.encoder_id and _recorded(row.config) == wanted:
                if row.status == "finished":
                    return row.run_id
                unfinished = row if row.status in ("running", "stopped") else None
        self.trained += 1
        if unfinished is not None:
            try:
                return go_on(unfinished)
            except TrainingError as error:
                self._note(f"run {unfinished.run_id} cannot go on ({error}): training it anew")
        return make()


def _settings(config: TrainConfig | PromptConfig) -> dict[str, Any]:
    """What decides a training's result; where it runs does not, to rounding."""
    values = config.to_json()
    values.pop("device", None)
    return values


def _recorded(config: Mapping[str, Any]) -> dict[str, Any] | None:
    of_learner = config.get("method") in METHODS
    try:
        return _settings((PromptConfig if of_learner else TrainConfig).from_json(config))
    except (TrainingError, TypeError):
        return None
