"""Which run is meant by ``latest``."""

from taistore.errors import StoreError
from taistore.progress import Note
from taistore.run import Run


def latest_finished(runs: list[Run], *, uri: str, note: Note) -> Run:
    """The last that is finished of one run or more, oldest first; a newer one is noted.

    Raises :class:`StoreError`, which says what to do, where none is.
    """
    finished = [run for run in runs if run.status == "finished"]
    newest = runs[-1]
    if not finished:
        raise StoreError(
            f"{uri}: no run is finished, {newest.run_id} is {newest.liveness}: "
            + (
                "wait for it"
                if newest.status == "running"
                else f"go on with it by 'taistore train --resume {newest.run_id}'"
            )
        )
    if finished[-1] is not newest:
        note(
            f"latest: taking {finished[-1].run_id}, the last that is finished; "
            f"{newest.run_id} is {newest.liveness}"
        )
    return finished[-1]
