"""Rows that name a row of another table which is not there."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_of
from taistore.store.verification.finding import Finding
from taistore.store.writes.commits import Addresses, addresses_in, fragments_of
from taistore.store.writes.known_keys import column_hashes, is_among, key_hashes
from taistore.store.writes.removal import owner_hashes, remove_orphans


@dataclass(frozen=True, slots=True)
class _Link:
    """Rows of ``kind`` name rows of ``target``; ``spare`` rows are worth nothing without them.

    Spare rows are no error: replaced contents and killed jobs leave them, and no job stumbles over
    them.
    """

    kind: str
    column: str
    target: str
    remedy: str
    spare: bool = False


_LINKS = (
    _Link("image_vectors", "image_id", "images", "run 'taistore prune --apply'", True),
    _Link("region_vectors", "image_id", "images", "run 'taistore prune --apply'", True),
    _Link("text_vectors", "text_id", "texts", "run the job that wrote the texts again", True),
    _Link(
        "text_vectors", "combination_id", "combinations", "run the job that wrote the texts again"
    ),
    _Link(
        "token_vectors", "text_id", "texts", "run 'taistore generate-texts --tokens' again", True
    ),
    _Link(
        "token_vectors", "combination_id", "combinations", "run the job that wrote the texts again"
    ),
    *(
        _Link(kind, column, target, "run 'taistore generate-images' again", spare)
        for kind in ("synthetic_vectors", "synthetic_regions")
        for column, target, spare in (
            ("text_id", "texts", True),
            ("combination_id", "combinations", False),
        )
    ),
    _Link("texts", "combination_id", "combinations", "run the job that wrote the texts again"),
    _Link("images", "combination_id", "combinations", "run 'taistore ingest-images' again"),
)


def dangling_findings(
    store: Store,
    tables: Mapping[str, Any],
    *,
    broken: Collection[str] = (),
    repair: bool,
    before: datetime,
) -> Iterator[Finding]:
    """Of the whole ``tables`` by name, rows that name what is not there.

    Rows of a ``broken`` table would all seem to be gone: what names them is not judged.
    ``repair`` removes vectors without their image or text, where these were there ``before`` that
    time.
    """
    for link in (link for link in _LINKS if link.target not in broken):
        for name in tables:
            if kind_of(name) == link.kind:
                yield from _of_link(store, link, name, tables, repair=repair, before=before)


def _of_link(
    store: Store,
    link: _Link,
    name: str,
    tables: Mapping[str, Any],
    *,
    repair: bool,
    before: datetime,
) -> Iterator[Finding]:
    dataset = tables[name]
    dangling, example = _dangling(link, dataset, tables.get(link.target))
    if not len(dangling):
        return
    settled = _settled(dataset, before)
    old = int(np.isin(fragments_of(dangling), settled).sum())
    young = len(dangling) - old
    found = Finding(
        code="dangling-id",
        table=name,
        what="",
        remedy=link.remedy + (", or let repair= remove them" if link.spare else ""),
    )
    article = "an" if link.column.startswith("i") else "a"
    told = f"name {article} {link.column} that table {link.target!r} does not have"
    if young:
        yield replace(
            found,
            what=f"{young:,} young rows {told}: a job may be at work (such as {example})",
            remedy="look again when no job runs",
            severity="warning",
        )
    if old:
        removed = 0
        if repair and link.spare:
            known = owner_hashes(store, link.target)
            removed = remove_orphans(store, name, link.target, known=known, before=before)
            dataset.checkout_latest()
        yield replace(
            found,
            what=f"{old:,} rows {told} (such as {example})",
            severity="warning" if link.spare else "error",
            repaired=removed > 0,
        )


def _dangling(link: _Link, dataset: Any, target: Any) -> tuple[Addresses, str]:
    """Addresses of the rows whose target is absent, and the id that the first of them names.

    The target is read as it is now, after ``dataset`` was opened, so that what a job has written in
    the right order meanwhile is there.
    """
    known: NDArray[np.uint64] = np.empty(0, np.uint64)
    if target is not None:
        target.checkout_latest()
        known = column_hashes(target, (link.column,))
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    example = ""
    scanner = dataset.scanner(
        columns=[link.column], with_row_address=True, io_buffer_size=READ_AHEAD_BYTES
    )
    for batch in scanner.to_batches():
        rows = pa.Table.from_batches([batch])
        ids = rows.column(link.column)
        absent = ~is_among(key_hashes(rows.select([link.column])), known)
        absent &= ids.is_valid().to_numpy(zero_copy_only=False)
        if absent.any():
            example = example or str(ids[int(np.argmax(absent))].as_py())
            places.append(addresses_in(rows)[absent])
    return np.concatenate(places), example


def _settled(dataset: Any, before: datetime) -> list[int]:
    """Fragments that were there by then; none where no version says so."""
    limit = before.timestamp()
    old = [v["version"] for v in dataset.versions() if v["timestamp"].timestamp() <= limit]
    if not old:
        return []
    fragments = dataset.checkout_version(max(old)).get_fragments()
    return [fragment.fragment_id for fragment in fragments]


VECTORS = {"images": "image_vectors", "texts": "text_vectors"}
"""Which tables hold the vectors of which."""


def vectorless_findings(tables: Mapping[str, Any]) -> Iterator[Finding]:
    """Images and texts that have no vector of any encoder, where there are vectors at all."""
    for target, kind in VECTORS.items():
        vectors = [data for name, data in tables.items() if kind_of(name) == kind]
        if target not in tables or not vectors:
            continue
        column = TABLES[target].key[0]
        lost = column_hashes(tables[target], (column,))
        for dataset in vectors:
            dataset.checkout_latest()
            lost = lost[~is_among(lost, column_hashes(dataset, (column,)))]
        if len(lost):
            yield Finding(
                code="no-vector",
                table=target,
                what=f"{len(lost):,} rows have no vector of any encoder",
                remedy="run the job that wrote them again, which encodes what lacks",
                severity="warning",
            )
