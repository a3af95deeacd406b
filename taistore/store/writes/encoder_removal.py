"""The encoders of a store, and taking one out with all its vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from taistore.contracts import REMOVED, TABLES
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.stopping import held
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

KINDS = tuple(kind for kind, table in TABLES.items() if table.per_encoder)
"""Tables that every encoder has its own of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEncoder:
    """An encoder of a store and what is of it there.

    ``rows`` counts those of its tables, ``runs`` are the ids of the runs that need it. ``default``
    is the one that is used where none is named. ``going`` is one whose removal was stopped half
    way: nothing uses it any more, and removing it again ends that.
    """

    info: EncoderInfo
    rows: Mapping[str, int]
    runs: tuple[str, ...]
    default: bool
    going: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRemoval:
    """What went, or would where ``applied`` is False; its ``runs`` stay without their encoder."""

    encoder: StoredEncoder
    applied: bool


def stored_encoders(store: Store) -> list[StoredEncoder]:
    """Every encoder of a store, in the order of their ids."""
    runs = store.runs()
    found = []
    for row in store.encoder_rows():
        spec = row.spec.removeprefix(REMOVED)
        found.append(
            StoredEncoder(
                info=replace(row, spec=spec),
                rows={kind: store.count(kind, row.encoder_id) for kind in KINDS},
                runs=_runs_of(runs, row.encoder_id),
                default=spec == store.default_encoder,
                going=row.spec != spec,
            )
        )
    return found


def remove_encoder(
    store: Store, name: str, *, apply: bool = False, force: bool = False
) -> EncoderRemoval:
    """Look at what goes with an encoder; with ``apply`` remove it.

    ``name`` is its spec, its id, or the name of imported vectors. Its vectors go, its centroids and
    prompts, and the store knows it no more; texts, images and labels stay. Raises
    :class:`StoreError` where there is no such encoder, or several; where a run that is not finished
    needs it; and, unless ``force`` says that these may stay without it, where a finished run does.

    Killed at any moment and run again it removes the rest: from the first instant on the encoder is
    none to whoever looks.
    """
    encoder = _named(store, name)
    if not encoder.going:
        _require_unneeded(store, encoder, force=force)
    if apply:
        encoder_id = encoder.info.encoder_id
        with held():
            marked = replace(encoder.info, spec=REMOVED + encoder.info.spec)
            names = TABLES["encoders"].schema().names
            store.upsert("encoders", [{column: getattr(marked, column) for column in names}])
            # Twice: a job that was about to commit may have made one anew.
            for kind in KINDS * 2:
                store.drop(kind, encoder_id)
            store.remove("encoders", {"encoder_id": encoder_id})
    return EncoderRemoval(encoder=encoder, applied=apply)


def _runs_of(runs: list[RunRow], encoder_id: str) -> tuple[str, ...]:
    """Runs of the encoder, and the ensembles that have one of these as a member."""
    own = {run.run_id for run in runs if run.encoder_id == encoder_id}
    return tuple(
        run.run_id
        for run in runs
        if run.run_id in own or own.intersection(run.config.get("members", ()))
    )


def _named(store: Store, name: str) -> StoredEncoder:
    known = stored_encoders(store)
    names = {name, f"vectors:{name}"}
    found = [one for one in known if names & {one.info.encoder_id, one.info.spec}]
    if not found:
        there = ", ".join(one.info.spec for one in known) or "none yet"
        raise StoreError(f"{store.uri}: no encoder {name!r} (there are: {there})")
    if len(found) > 1:
        ids = ", ".join(f"{one.info.encoder_id} ({one.info.dim} dimensions)" for one in found)
        raise StoreError(f"{store.uri}: {name} is several encoders: name one by its id: {ids}")
    return found[0]


def _require_unneeded(store: Store, encoder: StoredEncoder, *, force: bool) -> None:
    spec = encoder.info.spec
    for run in store.runs():
        if run.run_id in encoder.runs and run.status != "finished":
            raise StoreError(
                f"run {run.run_id} is not finished and needs {spec} to go on: bring it to its end, "
                f"or remove it with 'taistore runs rm {run.run_id}'"
            )
    if encoder.runs and not force:
        more = f" and {len(encoder.runs) - 3:,} more" if len(encoder.runs) > 3 else ""
        raise StoreError(
            f"{store.uri}: {spec} is needed by run {', '.join(encoder.runs[:3])}{more}: remove "
            "what you do not need with 'taistore runs rm', or give force= to leave them without "
            "their encoder"
        )
