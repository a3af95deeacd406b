"""Read all of a store: what is wrong in its tables, and what mends it."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from taistore.contracts import TABLES
from taistore.errors import StoreError
from taistore.printable import counted
from taistore.progress import Progress, no_progress
from taistore.store.lance_errors import answering
from taistore.store.places import checked_uri, is_remote, storage_options
from taistore.store.store import Store
from taistore.store.tables.lance_tables import LanceTables, session
from taistore.store.tables.table_names import kind_and_encoder, kind_of
from taistore.store.verification.broken_rows import contract_findings, label_findings
from taistore.store.verification.dangling_ids import VECTORS, dangling_findings, vectorless_findings
from taistore.store.verification.doubled_keys import doubled_rows
from taistore.store.verification.finding import SETTLED, Finding, Verification
from taistore.store.verification.table_files import look_at_files
from taistore.store.verification.table_folder import TableFolder
from taistore.store.verification.unpaired_regions import unpaired_findings
from taistore.store.verification.vector_faults import RAGGED, vector_findings
from taistore.store.writes.removal import remove_rows

_NEEDED = ("labels", "encoders")
"""Without these the rows of no other table say anything."""


def verify_store(
    path: str | Path,
    *,
    repair: bool = False,
    restore: Collection[str] = (),
    older_than: timedelta = SETTLED,
    progress: Progress = no_progress,
) -> Verification:
    """Read every file and every row of a store's tables, in memory of a few bytes a row.

    ``repair`` mends what loses nothing: repeats of a row, vectors of no use or of nothing, files of
    no version. What is younger than ``older_than`` may be of a job that is at work and stays.
    ``restore`` names damaged tables to lead back to the last version that reads whole; what was
    committed after it is lost. Raises :class:`StoreError` where no store is, where it is of another
    version, or where a table of ``restore`` cannot be led back.

    On an object store the files that no version names are not looked for: 'taistore optimize'
    removes them there.
    """
    uri = checked_uri(path)
    with answering(uri):
        return _verified(uri, repair, restore, older_than, progress)


def _verified(
    uri: str,
    repair: bool,
    restore: Collection[str],
    older_than: timedelta,
    progress: Progress,
) -> Verification:
    folders = _folders(uri)
    if unknown := sorted(set(restore) - {folder.name for folder in folders}):
        raise StoreError(
            f"{uri}: there is no table {unknown[0]!r}: see the names in 'taistore show'"
        )
    before = datetime.now(UTC) - older_than
    tables: dict[str, Any] = {}
    findings: list[Finding] = []
    with progress("verify", total=2 * len(folders), unit="step") as bar:
        for folder in folders:
            dataset, found = look_at_files(
                folder, repair=repair, restore=folder.name in restore, older_than=older_than
            )
            findings += found
            if dataset is not None:
                tables[folder.name] = dataset
            bar.advance()
        if missing := _unusable(uri, folders, tables):
            findings.append(missing)
            return _verification(uri, tables, findings)
        store = Store.open(uri)
        whole: dict[str, Any] = {}
        for name, dataset in tables.items():
            wrong = contract_findings(store, dataset, name)
            findings += wrong
            if not wrong:
                findings += _row_findings(store, dataset, name, repair=repair)
                whole[name] = dataset
            bar.advance()
        broken = {folder.name for folder in folders} - whole.keys()
        findings += dangling_findings(store, whole, broken=broken, repair=repair, before=before)
        if not any(kind_of(name) in VECTORS.values() for name in broken):
            findings += vectorless_findings(whole)
        findings += unpaired_findings(whole, broken=broken)
    return _verification(uri, tables, findings)


def _folders(uri: str) -> list[TableFolder]:
    """Every table, whatever state it is in; StoreError where none is."""
    names: list[str] = []
    if is_remote(uri):
        names = LanceTables(uri).listed()
    elif Path(uri).is_dir():
        try:
            entries = list(Path(uri).iterdir())
        except OSError as error:
            raise StoreError(f"{uri}: cannot be read ({error.strerror}): check the path") from error
        names = sorted(entry.stem for entry in entries if entry.suffix == ".lance")
    cache, options = session(), storage_options(uri)
    folders = [TableFolder(uri, name, options, session=cache) for name in names]
    if not folders:
        raise StoreError(
            f"{uri}: no taistore store here, not even a damaged one: make one with "
            f"'taistore init labels.txt --store {uri}'"
        )
    return folders


def _unusable(uri: str, folders: list[TableFolder], tables: dict[str, Any]) -> Finding | None:
    """Why no row can be judged: a table that all others rest on is not there, or not whole."""
    names = {folder.name for folder in folders}
    for name in _NEEDED:
        # A store has no encoders until the first is used.
        if name not in tables and (name == "labels" or name in names):
            state = "is damaged" if name in names else "is gone"
            what = f"table {name!r} {state}, so that no row of the store was looked at"
            return Finding(
                code="not-checked",
                table=name,
                what=what,
                remedy="mend that table, then verify again"
                if len(names) > 1
                else f"'taistore init labels.txt --store {uri}' makes the store",
            )
    return None


def _row_findings(store: Store, dataset: Any, name: str, *, repair: bool) -> Iterator[Finding]:
    kind, encoder_id = kind_and_encoder(name)
    key = TABLES[kind].key
    count, _, example = doubled_rows(dataset, key)
    if count:
        removed = 0
        if repair:
            removed = remove_rows(dataset, name, lambda now: doubled_rows(now, key)[1])
            dataset.checkout_latest()
        yield Finding(
            code="doubled-key",
            table=name,
            what=f"{counted(count, 'row repeats', 'rows repeat')} the key of another "
            f"(such as {example})",
            remedy="repair= keeps the one of each key that was written last",
            repaired=removed > 0,
        )
    yield from label_findings(store, dataset, name)
    if encoder_id and (TABLES[kind].vector_fields or kind in RAGGED):
        dim = store.encoder(encoder_id).dim
        yield from vector_findings(dataset, name, dim, repair=repair)
        dataset.checkout_latest()


def _verification(uri: str, tables: dict[str, Any], findings: list[Finding]) -> Verification:
    rows = {name: int(dataset.count_rows()) for name, dataset in sorted(tables.items())}
    return Verification(store=uri, tables=rows, findings=tuple(findings))
