"""Pictures of texts on their way into the store, in bounded commits.

Regions go before vectors. A picture that is made anew may come out another one, so that both rows
name what they are of (``content``): a commit ends when both say the same.

Shapes: D embedding dimension, G region grid.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.errors import StoreError
from taistore.images.encoding import encode_each
from taistore.images.image_rows import COMMIT_BYTES, COMMIT_SECONDS
from taistore.images.photo_files import rejected
from taistore.store.arrow import vector_column
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.writes.commits import tries
from taistore.synthetic.image_pending import JOB, contents
from taistore.synthetic.image_writer import ImageRequest, ImageWriter, WrittenImage
from taistore.synthetic.kept_images import keep_image
from taistore.synthetic.made_image import MadeImage, made_image

COMMIT_ROWS = 1024
REMEMBERED = 512
"""Pictures whose vectors are at hand for another text of theirs: 50 MB with regions of 1,024
dimensions."""


class _Vectors(NamedTuple):
    """A picture's vector [D], and its regions [G * G, D] where they are kept; float16."""

    whole_D: NDArray[np.float16]
    regions_RD: NDArray[np.float16] | None


class _Encoded(NamedTuple):
    """A picture on its way into the store."""

    request: ImageRequest
    content: str
    fingerprint: int
    vectors: _Vectors


class ImageStore:
    """Takes what a writer made, encodes and commits it; counts what became of it.

    Rejects are kept in the table ``rejects`` under the job's name, and forgotten where a later run
    succeeds. With ``keep`` the pictures are also written into that folder.
    """

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        writer: ImageWriter,
        *,
        regions: int,
        batch_size: int,
        keep: Path | None,
    ) -> None:
        self._store, self._encoder, self._writer = store, encoder, writer
        self._regions, self._batch_size, self._keep = regions, batch_size, keep
        self._made: list[tuple[ImageRequest, MadeImage, NDArray[np.uint8]]] = []
        self._seen: dict[str, _Vectors] = {}
        self._encoded: list[_Encoded] = []
        self._rejects: list[Reject] = []
        self._bytes, self._since = 0, time.monotonic()
        self.taken = self.written = 0
        self.encoder_seconds = 0.0
        self.rejects: Counter[str] = Counter()
        self.first_reject: Reject | None = None

    @property
    def rejected(self) -> int:
        """Pictures of this run that were set aside."""
        return self.rejects.total()

    def take(self, written: WrittenImage | Reject) -> None:
        """A picture, or why there is none; it lies in the store after the next :meth:`flush`."""
        self.taken += 1
        if isinstance(written, Reject):
            self._set_aside(written)
            return
        request = written.request
        if written.image is None:
            self._set_aside(
                Reject(request.place, written.reason, written.detail, self._writer.name)
            )
            return
        try:
            made = made_image(written.image)
            known = self._seen.get(made.content)
            unknown = made.picture if known is None else None
            pixels = None if unknown is None else self._encoder.prepare(unknown)
        except Exception as error:
            self._refuse(request, error)
            return
        if self._keep is not None:
            keep_image(self._keep, request.synthetic_id, written.image)
        if known is not None:
            self._add(request, made, known)
        elif pixels is not None:
            # The picture itself is not needed any more.
            self._made.append((request, made._replace(picture=None), pixels))
        if len(self._made) >= self._batch_size:
            self._encode()
        self._flush_if_due()

    def _set_aside(self, reject: Reject) -> None:
        self._rejects.append(reject)
        self.rejects[reject.reason] += 1
        self.first_reject = self.first_reject or reject
        self._flush_if_due()

    def _refuse(self, request: ImageRequest, error: Exception) -> None:
        self._set_aside(replace(rejected(request.place, error), writer=self._writer.name))

    def _encode(self) -> None:
        made, self._made = self._made, []
        pixels = {image.content: found for _, image, found in made}
        began = time.perf_counter()
        vectors, failed = encode_each(self._encoder, list(pixels.values()), regions=self._regions)
        self.encoder_seconds += time.perf_counter() - began
        rows = iter(range(len(pixels)))
        errors = {}
        for place, content in enumerate(pixels):
            if place in failed:
                errors[content] = failed[place]
                continue
            row = next(rows)
            regions_RD = None
            if self._regions and vectors.regions is not None:
                regions_RD = vectors.regions[row].astype(np.float16)
            self._seen[content] = _Vectors(vectors.whole[row].astype(np.float16), regions_RD)
        for request, image, _ in made:
            if image.content in errors:
                self._refuse(request, errors[image.content])
            else:
                self._add(request, image, self._seen[image.content])
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _add(self, request: ImageRequest, image: MadeImage, vectors: "_Vectors") -> None:
        self._encoded.append(_Encoded(request, image.content, image.fingerprint, vectors))
        regions = vectors.regions_RD
        self._bytes += vectors.whole_D.nbytes + (0 if regions is None else regions.nbytes)

    def _flush_if_due(self) -> None:
        if (
            len(self._encoded) + len(self._rejects) >= COMMIT_ROWS
            or self._bytes >= COMMIT_BYTES
            or time.monotonic() - self._since >= COMMIT_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Encode and commit all that was taken. Raises :class:`StoreError` where that fails."""
        if self._made:
            self._encode()
        encoded = sorted(
            self._encoded, key=lambda one: (one.request.text.combination_id, one.request.place)
        )
        rejects = self._rejects
        self._encoded, self._rejects = [], []
        self._bytes, self._since = 0, time.monotonic()
        if encoded:
            lost = {reject.uri for reject in rejects}
            named = {n for one in encoded for n in (one.request.place, one.request.synthetic_id)}
            # First: killed in between, the next run asks again for what is neither here nor there.
            self.forget_rejects(sorted(named - lost))
            self._commit(encoded)
        if rejects:
            self._store.reject(JOB, rejects)

    def forget_rejects(self, uris: Sequence[str]) -> None:
        """Remove the rejects of pictures that are there."""
        if uris:
            self._store.clear_rejects(JOB, uris)

    def _commit(self, encoded: Sequence[_Encoded]) -> None:
        own = {one.request.synthetic_id: one for one in encoded}
        if not self._regions:
            before = self._contents("synthetic_vectors", own)
            self._append_vectors([one for key, one in own.items() if key not in before])
            self.written += len(own.keys() - before.keys())
            return
        lacking: int | None = None
        # With pauses that differ: two jobs would take turns at undoing the other's.
        for _ in tries():
            vectors = self._contents("synthetic_vectors", own)
            regions = self._contents("synthetic_regions", own)
            # What another job has whole is as good as ours.
            left = {
                key: one
                for key, one in own.items()
                if key not in vectors or vectors[key] != regions.get(key)
            }
            lacking = len(left) if lacking is None else lacking
            if not left:
                self.written += lacking
                return
            self._upsert_regions([one for k, one in left.items() if regions.get(k) != one.content])
            self._upsert_vectors([one for k, one in left.items() if vectors.get(k) != one.content])
        raise StoreError(
            f"{self._store.uri}: another job makes the same pictures at the same moment: run the "
            "same command again"
        )

    def _contents(self, kind: str, own: Mapping[str, Any]) -> dict[str, str]:
        return contents(self._store, kind, self._encoder.info.encoder_id, list(own))

    def _append_vectors(self, rows: Sequence[_Encoded]) -> None:
        if rows:
            table, encoder_id = self._vector_table(rows), self._encoder.info.encoder_id
            self._store.append("synthetic_vectors", table, encoder_id=encoder_id)

    def _upsert_vectors(self, rows: Sequence[_Encoded]) -> None:
        if rows:
            table, encoder_id = self._vector_table(rows), self._encoder.info.encoder_id
            self._store.upsert("synthetic_vectors", table, encoder_id=encoder_id)

    def _vector_table(self, rows: Sequence[_Encoded]) -> pa.Table:
        return pa.table(
            {
                **_identity(rows),
                "writer": [self._writer.name] * len(rows),
                "model": pa.array([self._writer.model] * len(rows), pa.string()),
                "seed": pa.array([row.request.seed for row in rows], pa.int64()),
                "fingerprint": [row.fingerprint for row in rows],
                "vector": vector_column(np.stack([row.vectors.whole_D for row in rows])),
            }
        )

    def _upsert_regions(self, rows: Sequence[_Encoded]) -> None:
        if not rows:
            return
        found = (row.vectors.regions_RD for row in rows)
        cells = np.stack([one_RD for one_RD in found if one_RD is not None])
        table = pa.table(
            {
                **_identity(rows),
                "grid": pa.array([self._regions] * len(rows), pa.int16()),
                "vectors": vector_column(cells.reshape(len(rows), -1)),
            }
        )
        self._store.upsert("synthetic_regions", table, encoder_id=self._encoder.info.encoder_id)


def _identity(rows: Sequence[_Encoded]) -> dict[str, Any]:
    requests = [row.request for row in rows]
    return {
        "synthetic_id": [request.synthetic_id for request in requests],
        "text_id": [request.text.text_id for request in requests],
        "number": pa.array([request.number for request in requests], pa.int32()),
        "combination_id": [request.text.combination_id for request in requests],
        "content": [row.content for row in rows],
    }
