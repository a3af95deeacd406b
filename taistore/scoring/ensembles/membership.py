"""What may be put together into an ensemble, and with which weights."""

import math
from collections.abc import Sequence

from taistore.errors import ScoringError
from taistore.scoring.loaded_run import ScoringRun
from taistore.store.store import Store


def shares_of(
    run_ids: Sequence[str], weights: Sequence[float] | None, *, imported: bool
) -> list[float]:
    """The weight of each run, and then of imported scores, of all."""
    parts = len(run_ids) + imported
    if not run_ids or parts < 2:
        raise ScoringError(
            "an ensemble has at least two members: name two runs or more, or one and scores="
        )
    given = [1.0] * parts if weights is None else [float(weight) for weight in weights]
    if len(given) != parts:
        what = f"{len(run_ids)} runs and the scores" if imported else f"{parts} runs"
        raise ScoringError(f"{len(given)} weights for {what}: give one for each, in their order")
    wrong = [weight for weight in given if not (math.isfinite(weight) and weight > 0)]
    if wrong:
        raise ScoringError(f"weight {wrong[0]:g}: give numbers above 0, or leave the run out")
    return [weight / math.fsum(given) for weight in given]


def require_different(ids: Sequence[str]) -> None:
    """ScoringError where a run is named twice."""
    twice = [run_id for n, run_id in enumerate(ids) if run_id in ids[:n]]
    if twice:
        raise ScoringError(f"run {twice[0]} is given twice: give it a larger weight instead")


def require_one_encoder(store: Store, ids: Sequence[str]) -> None:
    """ScoringError where the runs are for several encoders."""
    rows = [store.run(run_id) for run_id in ids]
    for row in rows[1:]:
        if row.encoder_id != rows[0].encoder_id:
            specs = [store.encoder(r.encoder_id).spec for r in (rows[0], row)]
            raise ScoringError(
                f"run {ids[0]} is for the encoder {specs[0]}, {row.run_id} for {specs[1]}: an "
                "ensemble has one encoder, so name runs of the same one"
            )


def require_plain(runs: Sequence[ScoringRun]) -> None:
    """ScoringError where the scores of a run have no run's own scale."""
    for run in runs:
        if not run.plain:
            raise ScoringError(
                f"run {run.run_id} is an ensemble with the paper's rule or with imported scores, "
                "which is no member of another: name its members"
            )
