"""Run by test_killed_tables.py in a process of its own: make a table until it is killed."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import click

from taistore.prompting.prompt_job import LearnerJob
from taistore.prompting.prompt_training import train_prompts
from taistore.reproduction import cells, integration, table_runs
from taistore.reproduction.table_report import Reproduction
from taistore.reproduction.table_texts import TableTexts
from tests.encoders import small_models
from tests.killing import step
from tests.reproduction.test_reproduce import run, small

assert small_models.MEAN.size  # the configurations of its models are known from here on

LEARNERS = {"table1": "dualcoop", "table3": "coop"}


def make(folder: Path, name: str, **options: Any) -> Reproduction:
    """One column of a table: the paper's method, and averaged with a learner that is trained."""
    return run(
        small(name, 1),
        folder,
        encoder_spec=f"open_clip:small-resnet/{folder / 'weights.pt'}",
        texts=TableTexts(count=40),
        methods=("paper", LEARNERS[name]),
        settings={"hidden": 16, "epochs": 2},
        regions=2,
        **options,
    )


def _with_steps() -> None:
    """Wait ahead of each step of the learner, each average and each evaluation."""
    for module, function in (
        (LearnerJob, "learn"),
        (integration, "make_ensemble"),
        (cells, "evaluate"),
    ):
        setattr(module, function, _stepping(getattr(module, function)))
    saved = functools.partial(train_prompts, checkpoint_seconds=0)
    setattr(table_runs, "train_prompts", saved)  # noqa: B010


def _stepping(done: Any) -> Any:
    @functools.wraps(done)
    def stepping(*arguments: Any, **named: Any) -> Any:
        step()
        return done(*arguments, **named)

    return stepping


if __name__ == "__main__":
    _with_steps()
    found = make(Path(sys.argv[1]), sys.argv[2], note=lambda line: click.echo(line, err=True))
    Path(sys.argv[3]).write_text(json.dumps(found.to_json()), encoding="utf-8")
