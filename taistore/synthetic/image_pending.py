"""What is pending: the pictures that are wanted and that the store lacks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
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

UNFAITHFUL = "unfaithful"
"""Reason of pictures that an audit set aside: one of them may still be there for another encoder.
"""

_BLOCK = 256
_PIECE = 1024
_PIECES = 256

UInt64 = NDArray[np.uint64]


class StoredTexts:
    """The texts of a store, or those by one ``writer``, or ``most`` of them by their ids' order.

    Ids are hashes, so that these are a fair sample, and a larger number holds the smaller one.
    Each job takes pieces of the table in an order of its own: of jobs at once none follows another,
    so that little is made twice. The table is read as it was at first.
    """

    def __init__(self, store: Store, *, writer: str | None = None, most: int | None = None) -> None:
        self._store = store
        self._version = store.versions([("texts", None)]).get("texts")
        hashes, places, seen = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], 0
        for batch in store.scan(
            "texts",
            columns=["text_id", "writer"],
            batch_rows=65_536,
            version=self._version,
        ):
            mine = np.ones(batch.num_rows, dtype=bool)
            if writer is not None:
                mine = np.array(batch.column("writer").to_pylist()) == writer
            hashes.append(hash_column(batch.column("text_id"))[mine])
            places.append(seen + np.flatnonzero(mine))
            seen += batch.num_rows
        found, self._places = np.concatenate(hashes), np.concatenate(places)
        if most is not None and most < len(found):
            self._places = self._places[found <= np.partition(found, most - 1)[most - 1]]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[StoredText]:
        size = min(_PIECE, len(self) // _PIECES + 1)
        starts = np.arange(0, len(self), size)
        np.random.default_rng().shuffle(starts)
        columns = list(StoredText._fields)
        for start in starts.tolist():
            places = self._places[start : start + size]
            for row in self._store.rows_at("texts", places, columns, version=self._version):
                yield StoredText(**row)


class PendingBlock(NamedTuple):
    """Requests that are due, what cannot be asked for, how many were passed over as done, and the
    rejects of these that have been overtaken."""

    due: list[ImageRequest]
    refused: list[Reject]
    done: int
    overtaken: list[str]


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
        final, self._passing = _rejected(store)
        self._rejected = np.empty(0, np.uint64) if retry_rejects else final
        self.present = self.rejected_earlier = self.due = 0

    def blocks(
        self, requests: Iterable[ImageRequest | Reject], *, size: int
    ) -> Iterator[PendingBlock]:
        """What is left to do, at most ``size`` requests a block, looked up again just before."""
        iterator = iter(requests)
        while items := list(islice(iterator, _BLOCK)):
            asked = [item for item in items if isinstance(item, ImageRequest)]
            refused = [item for item in items if isinstance(item, Reject)]
            due, there = self._due(asked)
            yield PendingBlock([], refused, len(asked) - len(due), self._overtaken(there))
            for low in range(0, len(due), size):
                block = due[low : low + size]
                left = self._left(block)
                self.present += len(block) - len(left)
                self.due += len(left)
                yield PendingBlock(left, [], len(block) - len(left), [])

    def _due(self, asked: Sequence[ImageRequest]) -> tuple[list[ImageRequest], list[ImageRequest]]:
        """Those that were neither there nor rejected when the job began, and those there."""
        hashes = _hashes([request.synthetic_id for request in asked])
        there = is_among(hashes, self._there)
        rejected = ~there & is_among(hashes, self._rejected)
        self.present += int(there.sum())
        self.rejected_earlier += int(rejected.sum())
        due = [asked[place] for place in np.flatnonzero(~(there | rejected)).tolist()]
        return due, [asked[place] for place in np.flatnonzero(there).tolist()]

    def _overtaken(self, there: Sequence[ImageRequest]) -> list[str]:
        """Rejects of pictures that are there, as a kill or another job leaves them."""
        if not len(self._passing):
            return []
        names = [name for one in there for name in dict.fromkeys((one.place, one.synthetic_id))]
        known = np.flatnonzero(is_among(_hashes(names), self._passing)).tolist()
        return [names[place] for place in known]

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


def _rejected(store: Store) -> tuple[UInt64, UInt64]:
    """Sorted hashes of what was judged to be of no use, and of what no audit set aside."""
    final, passing = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    columns = ["uri", "reason"]
    for batch in store.scan("rejects", columns=columns, where={"job": JOB}, batch_rows=65_536):
        rows = batch.to_pylist()
        final.append(
            _hashes([row["uri"] for row in rows if not row["reason"].startswith(UNANSWERED)])
        )
        passing.append(_hashes([row["uri"] for row in rows if row["reason"] != UNFAITHFUL]))
    return np.sort(np.concatenate(final)), np.sort(np.concatenate(passing))
