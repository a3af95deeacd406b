"""One commit to a table that counts only where no other came first.

Lance lets two appends that read the same version both in, and two merges of one key as well where
the key has an index, so that rows come twice. A commit here also *touches the table's first
fragment*: of two that read the same version Lance then refuses the later, on local disks as on
object stores, and whoever was refused looks again at what is there. What replaces rows does so in
the same commit, by marking the old ones as deleted.
"""

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lance.dataset import LanceDataset, LanceOperation
from lance.fragment import FragmentMetadata, write_fragments
from numpy.typing import NDArray

from taistore.store.arrow import filter_expression

MOST_TRIES = 100
"""With waits of up to a second: more than the jobs of one machine can hold another up."""

_SHORTEST_WAIT = 0.005
_LONGEST_WAIT = 1.0

_REBASES = 20
"""So often Lance tries again over commits that have nothing to do with this one: an index."""

_FRAGMENT_BITS = 32

Addresses = NDArray[np.int64]
"""Row addresses as Lance counts them: the fragment in the upper half, the row in it below."""

NOWHERE: Addresses = np.empty(0, np.int64)


ADDRESS = "_rowaddr"
"""The column in which Lance gives the addresses of rows."""


def addresses_in(rows: pa.Table | pa.RecordBatch) -> Addresses:
    """The addresses that rows were read with."""
    return rows.column(ADDRESS).to_numpy().astype(np.int64)


def address_filter(addresses: Addresses) -> str:
    """A filter for the rows at these addresses.

    Whole numbers of our own making: no text of a user comes into it.
    """
    return f"{ADDRESS} IN ({', '.join(map(str, addresses.tolist()))})"


def fragments_of(addresses: Addresses) -> Addresses:
    """The id of the fragment that each address lies in."""
    return addresses >> _FRAGMENT_BITS


def tries() -> Iterator[int]:
    """Numbers of tries, with a growing random wait before each but the first."""
    for number in range(MOST_TRIES):
        if number:
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**number)))
        yield number


def is_conflict(error: BaseException) -> bool:
    """Whether Lance says that another commit came first."""
    text = str(error).lower()
    return any(words in text for words in ("conflict", "concurrent writers", "already exists"))


def created(uri: str, rows: pa.Table, storage_options: dict[str, str] | None = None) -> bool:
    """Whether this made the table at ``uri`` with these rows; False where another was first.

    (LanceDB's own ``create_table`` lets a second process replace what the first has just made.)
    """
    new: Any = []
    try:
        new = write_fragments(rows, uri, mode="create", storage_options=storage_options)
        LanceDataset.commit(
            uri,
            LanceOperation.Overwrite(rows.schema, new),
            read_version=0,
            max_retries=0,
            storage_options=storage_options,
        )
    except (OSError, RuntimeError) as error:
        # Version 0 is looked for, and not found, where version 1 has come in between.
        if not is_conflict(error) and "0.manifest was not found" not in str(error):
            raise
        _discard(uri, new)
        return False
    return True


def rows_where(dataset: Any, where: Mapping[str, Any]) -> Addresses:
    """Addresses of the rows with these values."""
    table = dataset.scanner(
        columns=[], filter=filter_expression(where), with_row_address=True
    ).to_table()
    return addresses_in(table)


def committed(dataset: Any, rows: pa.Table, gone: Addresses = NOWHERE) -> bool:
    """Write ``rows`` and delete those at the addresses ``gone``, both or neither.

    ``dataset`` is the version that this rests on. False, with nothing changed, where another commit
    came first.
    """
    new = _written(dataset, rows)
    operation = _operation(dataset, new, gone)
    # An Overwrite that may not be retried is refused where anything came in between.
    retries = 0 if isinstance(operation, LanceOperation.Overwrite) else _REBASES
    try:
        LanceDataset.commit(dataset, operation, read_version=dataset.version, max_retries=retries)
    except (OSError, RuntimeError) as error:
        if not is_conflict(error):
            raise
        if _landed(dataset.uri, new):
            return True
        _discard(dataset.uri, new)
        return False
    return True


def _landed(uri: str, new: Sequence[FragmentMetadata]) -> bool:
    """Whether the newest version names these files: a network disk may have lost the answer only.

    (It makes the manifest, the answer is lost, and the second try says that it is there.)
    """
    if "://" in uri or not new:
        return False
    named = {f.path for frag in LanceDataset(uri).get_fragments() for f in frag.metadata.files}
    return any(file.path in named for fragment in new for file in fragment.files)


def emptied(dataset: Any) -> bool:
    """Remove all rows and all older versions, those that a tag keeps too; False as above."""
    for tag in dataset.tags.list():
        dataset.tags.delete(tag)
    operation = LanceOperation.Overwrite(dataset.schema, [])
    try:
        LanceDataset.commit(dataset, operation, read_version=dataset.version, max_retries=0)
    except (OSError, RuntimeError) as error:
        if not is_conflict(error):
            raise
        return False
    dataset.checkout_latest()
    dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    return True


def _written(dataset: Any, rows: pa.Table) -> list[FragmentMetadata]:
    if not rows.num_rows:
        return []
    written = write_fragments(rows, dataset)
    assert isinstance(written, list)
    return written


def _operation(
    dataset: Any, new: list[FragmentMetadata], gone: Addresses
) -> LanceOperation.BaseOperation:
    fragments = dataset.get_fragments()
    if not fragments:  # nothing to touch, and nothing to lose
        return LanceOperation.Overwrite(dataset.schema, new)
    by_id = {fragment.fragment_id: fragment for fragment in fragments}
    changed, removed = [], []
    fragment_ids = fragments_of(gone)
    for fragment_id in np.unique(fragment_ids).tolist():
        there = gone[fragment_ids == fragment_id]
        rest = by_id[fragment_id].delete(address_filter(there))
        if rest is None:
            removed.append(fragment_id)
        else:
            changed.append(rest)
    first = fragments[0]
    if first.fragment_id not in {*removed, *(fragment.id for fragment in changed)}:
        changed.append(first.metadata)
    return LanceOperation.Update(
        removed_fragment_ids=removed, updated_fragments=changed, new_fragments=new
    )


def _discard(uri: str, fragments: Sequence[FragmentMetadata]) -> None:
    """Remove files that no version names; on an object store a cleanup does it later."""
    if "://" in uri:
        return
    for fragment in fragments:
        for file in fragment.files:
            with contextlib.suppress(OSError):
                (Path(uri) / "data" / file.path).unlink()
