"""What is pending: the pictures that are wanted and that the store lacks."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import SyntheticError
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.writes.known_keys import is_among, key_hashes
from taistore.synthetic.image_writer import UNANSWERED, ImageRequest, StoredText
from taistore.texts.rows.text_rows import hash_column

JOB = "generate-images"
"""Name of the job in the table ``rejects``."""

_SCAN_ROWS = 4096
_BLOCK = 256

UInt64 = NDArray[np.uint64]


class StoredTexts:
    """The texts of a store, or those by one ``writer``, or ``most`` of them by their ids' order.

    Ids are hashes, so that these are a fair sample, and a larger number holds the smaller one.
    Jobs at once begin at different places, so that they meet as late as they can.
    """

    def __init__(self, store: Store, *, writer: str | None = None, most: int | None = None) -> None:
        self._store = store
        self._where = None if writer is None else {"writer": writer}
        hashes = [np.empty(0, np.uint64)]
        for batch in store.scan("texts", columns=["text_id"], where=self._where, batch_rows=65_536):
            hashes.append(hash_column(batch.column(0)))
        found = np.concatenate(hashes)
        self._last: np.uint64 | None = None
        if most is not None and most < len(found):
            self._last = np.partition(found, most - 1)[most - 1]
        self._count = len(found) if self._last is None else int((found <= self._last).sum())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StoredText]:
        if not self._count:
            return iter(())
        first = int.from_bytes(os.urandom(4), "big") % self._count
        return chain(islice(self._all(), first, None), islice(self._all(), first))

    def _all(self) -> Iterator[StoredText]:
        columns = list(StoredText._fields)
        for batch in self._store.scan(
            "texts", columns=columns, where=self._where, batch_rows=_SCAN_ROWS
        ):
            rows = batch.select(columns)
            if self._last is not None:
                rows = rows.filter(pa.array(hash_column(rows.column("text_id")) <= self._last))
            for row in rows.to_pylist():
                yield StoredText(**row)


class PendingBlock(NamedTuple):
    """Requests that are due, what cannot be asked for, and how many were passed over as done."""

    due: list[ImageRequest]
    refused: list[Reject]
    done: int


class PendingImages:
    """Requests against what the store holds of an encoder: ``present`` and ``rejected_earlier``.

    With ``regions`` a picture is there where its vector and its regions are, and both are of the
    same picture. What was rejected counts as done unless ``retry_rejects``; what got no answer is
    due.
    """

    def __init__(
        self, store: Store, encoder_id: str, *, regions: bool, retry_rejects: bool
    ) -> None:
        self._store, self._encoder_id, self._regions = store, encoder_id, regions
        self._there = _whole_rows(store, encoder_id, regions=regions)
        self._rejected = np.empty(0, np.uint64) if retry_rejects else _rejected(store)
        self.present = self.rejected_earlier = self.due = 0

    def blocks(
        self, requests: Iterable[ImageRequest | Reject], *, size: int
    ) -> Iterator[PendingBlock]:
        """What is left to do, at most ``size`` requests a block, looked up again just before."""
        iterator = iter(requests)
        while items := list(islice(iterator, _BLOCK)):
            asked = [item for item in items if isinstance(item, ImageRequest)]
            refused = [item for item in items if isinstance(item, Reject)]
            due = self._due(asked)
            yield PendingBlock([], refused, len(asked) - len(due))
            for low in range(0, len(due), size):
                block = due[low : low + size]
                left = self._left(block)
                self.present += len(block) - len(left)
                self.due += len(left)
                yield PendingBlock(left, [], len(block) - len(left))

    def _due(self, asked: Sequence[ImageRequest]) -> list[ImageRequest]:
        """Those that were neither there nor rejected when the job began."""
        hashes = _hashes([request.synthetic_id for request in asked])
        there = is_among(hashes, self._there)
        rejected = ~there & is_among(hashes, self._rejected)
        self.present += int(there.sum())
        self.rejected_earlier += int(rejected.sum())
        done = (there | rejected).tolist()
        return [request for request, d in zip(asked, done, strict=True) if not d]

    def _left(self, block: Sequence[ImageRequest]) -> list[ImageRequest]:
        """Those that no other job has made meanwhile."""
        ids = [request.synthetic_id for request in block]
        vectors = contents(self._store, "synthetic_vectors", self._encoder_id, ids)
        if self._regions:
            regions = contents(self._store, "synthetic_regions", self._encoder_id, ids)
            vectors = {key: of for key, of in vectors.items() if regions.get(key) == of}
        return [request for request in block if request.synthetic_id not in vectors]


def require_synthetic_images(
    store: Store, encoder_id: str, *, versions: Mapping[str, int] | None = None
) -> int:
    """How many synthetic images of an encoder there are, at these versions of tables.

    Raises :class:`SyntheticError` where there is none.
    """
    name = store.table_name("synthetic_vectors", encoder_id)
    count = store.count("synthetic_vectors", encoder_id, version=(versions or {}).get(name))
    if not count:
        raise SyntheticError(
            f"{store.uri}: holds no synthetic images of {store.encoder(encoder_id).spec}: make "
            "some with 'taistore generate-images'"
        )
    return count


def contents(
    store: Store, kind: str, encoder_id: str, ids: Sequence[str], *, version: int | None = None
) -> dict[str, str]:
    """What the rows of these keys are of, where there are any."""
    columns = ["synthetic_id", "content"]
    found: dict[str, str] = {}
    where = {"synthetic_id": list(ids)}
    for batch in store.scan(
        kind, columns=columns, encoder_id=encoder_id, where=where, version=version
    ):
        found |= zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    return found


def _hashes(ids: list[str]) -> UInt64:
    return key_hashes(pa.table({"synthetic_id": pa.array(ids, pa.string())}))


def _whole_rows(store: Store, encoder_id: str, *, regions: bool) -> UInt64:
    """Sorted hashes of the pictures that need nothing more."""
    pair = ["synthetic_id", "content"]
    of_regions = None
    if regions:
        found = [key_hashes(rows) for rows in _rows(store, "synthetic_regions", encoder_id, pair)]
        of_regions = np.sort(np.concatenate([np.empty(0, np.uint64), *found]))
    whole = [np.empty(0, np.uint64)]
    for rows in _rows(store, "synthetic_vectors", encoder_id, pair):
        hashes = key_hashes(rows.select(["synthetic_id"]))
        if of_regions is not None:
            hashes = hashes[is_among(key_hashes(rows), of_regions)]
        whole.append(hashes)
    return np.sort(np.concatenate(whole))


def _rows(store: Store, kind: str, encoder_id: str, columns: list[str]) -> Iterator[pa.Table]:
    for batch in store.scan(kind, columns=columns, encoder_id=encoder_id, batch_rows=65_536):
        yield pa.Table.from_batches([batch]).select(columns)


def _rejected(store: Store) -> UInt64:
    """Sorted hashes of what was judged to be of no use."""
    found = [np.empty(0, np.uint64)]
    columns = ["uri", "reason"]
    for batch in store.scan("rejects", columns=columns, where={"job": JOB}, batch_rows=65_536):
        rows = batch.to_pylist()
        found.append(
            _hashes([row["uri"] for row in rows if not row["reason"].startswith(UNANSWERED)])
        )
    return np.sort(np.concatenate(found))
