"""The paper's method averaged with another system's scores: supplementary 8 of arXiv:2312.04160.

Scores lie in a folder as ``SET-COLUMN.parquet`` or ``.npy``, such as ``voc2007-10%.parquet``;
``SET.parquet`` serves every column that has no file of its own. Their layout is that of
:mod:`taistore.scoring.matrices.score_file`.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.reproduction.tables import Table
from taistore.scoring.ensembles.ensemble import TASK, Rule
from taistore.scoring.ensembles.make_ensemble import make_ensemble
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.matrices.export_scores import export_scores
from taistore.scoring.matrices.score_file import ScoreFile, open_scores
from taistore.store.store import Store

STEP: Step = "adapter_global"
"""Where the average of probabilities and scaled scores of whole images stands."""

DPT_STEP: Step = "ensemble"
"""Where that of all of TaI-DPT's score stands."""

_SUFFIXES = (".parquet", ".npy")


def find_scores(
    folder: Path, set_name: str, table: Table, labels: LabelSet, lacks: Callable[[str], None]
) -> dict[str, ScoreFile]:
    """The other system's scores of a set by column heading; ``lacks`` is told what is not there.

    Raises :class:`ScoringError` naming a file that does not fit.
    """
    found: dict[str, ScoreFile] = {}
    for column in table.columns:
        names = (f"{set_name}-{column.heading}", set_name)
        paths = (folder / f"{name}{suffix}" for name in names for suffix in _SUFFIXES)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            lacks(f"scores of {table.integrated}: no {names[0]}.parquet (or .npy) in {folder}")
        else:
            found[column.heading] = open_scores(path, labels)
    return found


@contextlib.contextmanager
def learner_scores(
    store: Store, run_id: str, *, split: str, device: str, progress: Progress
) -> Iterator[ScoreFile]:
    """The scores of a prompt learner that was trained here, as those of another system's file.

    The file is there for the block alone: an ensemble keeps what it takes of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{run_id}.parquet"
        export_scores(store, run_id, path, split=split, device=device, progress=progress)
        yield open_scores(path, store.labels)


def integrated_run(
    store: Store,
    run_id: str,
    scores: ScoreFile,
    *,
    rule: Rule = "paper",
    share: float = 0.5,
    split: str,
    device: str,
    progress: Progress = no_progress,
) -> str:
    """The ensemble of a run and these scores: one that is there, or a new one.

    ``share`` is the part of the average that the scores have.
    """
    wanted = {
        "members": [run_id],
        "scores_weight": share,
        "rule": rule,
        "split": split,
        "scores_digest": scores.digest(),
    }
    for row in store.runs():
        if row.task == TASK and all(row.config.get(k) == v for k, v in wanted.items()):
            return row.run_id
    return make_ensemble(
        store,
        [run_id],
        rule=rule,
        weights=(1 - share, share),
        scores=scores,
        split=split,
        device=device,
        progress=progress,
    ).run_id
