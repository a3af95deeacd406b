"""Another system's score matrix as a part of an ensemble, kept in the ensemble's own folder.

Shapes: I images of a split, B images that are asked for, N labels of the store.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.run_files.run_removal import IMPORTED
from taistore.errors import ScoringError
from taistore.progress import Progress, no_progress
from taistore.scoring.matrices.npy_rows import HEADER_BYTES, NpyRows, read_npy
from taistore.scoring.matrices.score_file import ScoreFile, some_of
from taistore.store.object_folder import file_digest
from taistore.store.partial_labels import IMAGE_ID
from taistore.store.store import Store

SCORES, IDS = IMPORTED
"""In an ensemble's folder: float32 [I, N], columns in the order of the store's labels, and the
image id (bytes) of each row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedPart:
    """What an ensemble's card says of it: the file's name, its share, and the range of its scores.

    The digests are the SHA-256 of the kept files.
    """

    source: str
    weight: float
    low: float
    high: float
    images: int
    scores_digest: str
    ids_digest: str


class KeptScores:
    """The kept matrix; :meth:`rows` reads from its file what is asked for and holds no more."""

    def __init__(self, path: Path, image_ids: NDArray[np.bytes_], labels: int) -> None:
        self._path = path
        self._labels = labels
        self._order = np.argsort(image_ids)
        self._sorted_ids = image_ids[self._order]

    @classmethod
    def open(cls, folder: Path, part: ImportedPart, *, labels: int) -> Self:
        """What :func:`keep_scores` left; ScoringError where it is gone or damaged."""
        again = "make the ensemble again with 'taistore ensemble'"
        for name, digest in ((SCORES, part.scores_digest), (IDS, part.ids_digest)):
            path = folder / name
            try:
                found = file_digest(path)
            except OSError as error:
                raise ScoringError(f"{path}: cannot be read ({error.strerror}): {again}") from error
            if found != digest:
                raise ScoringError(f"{path}: not what the ensemble's card says: {again}")
        # With the digest of the card these are the files that keep_scores wrote.
        return cls(folder / SCORES, np.array(read_npy(folder / IDS)), labels)

    def rows(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        """Scores [B, N] of these images; ScoringError names the first that has none."""
        asked_B = np.asarray(image_ids, dtype=IMAGE_ID)
        places_B = np.searchsorted(self._sorted_ids, asked_B)
        places_B = np.minimum(places_B, len(self._sorted_ids) - 1)
        lacking = np.flatnonzero(self._sorted_ids[places_B] != asked_B)
        if len(lacking):
            found = some_of([image_ids[row] for row in lacking.tolist()], "image")
            raise ScoringError(
                f"{self._path}: {found} without imported scores: score with a member of the "
                "ensemble, or make it again with scores of these images too"
            )
        rows_B = self._order[places_B]
        found_BN = np.empty((len(asked_B), self._labels), "<f4")
        width = self._labels * 4
        with self._path.open("rb") as file:
            for place in np.argsort(rows_B).tolist():
                file.seek(HEADER_BYTES + int(rows_B[place]) * width)
                file.readinto(found_BN[place])
        return found_BN


def keep_scores(
    file: ScoreFile,
    ids_I: NDArray[np.bytes_],
    folder: Path,
    *,
    weight: float,
    progress: Progress = no_progress,
) -> ImportedPart:
    """Copy the scores of a split's images into ``folder``, and take their range.

    ``ids_I`` are those of :func:`split_rows`. What ends this early leaves neither file. Raises
    :class:`ScoringError` where a score is no number or the files cannot be written.
    """
    kept_I = np.flatnonzero(ids_I != b"")
    low, high = np.inf, -np.inf
    try:
        with (
            progress("import scores", total=len(ids_I), unit="image") as bar,
            NpyRows(folder / SCORES, columns=file.labels) as matrix,
        ):
            for rows, scores_BN in _numbered(file):
                mine_BN = scores_BN[ids_I[rows] != b""]
                matrix.add(mine_BN)
                if mine_BN.size:
                    low, high = min(low, float(mine_BN.min())), max(high, float(mine_BN.max()))
                bar.advance(len(scores_BN))
        np.save(folder / IDS, ids_I[kept_I], allow_pickle=False)
        _on_disk(folder / SCORES, folder / IDS)
        digests = [file_digest(folder / name) for name in (SCORES, IDS)]
    except BaseException as error:
        discard_scores(folder)
        if isinstance(error, OSError):
            raise ScoringError(
                f"{folder}: the scores cannot be kept ({error.strerror}): mend that, and run it "
                "again"
            ) from error
        raise
    return ImportedPart(
        source=file.path.name,
        weight=weight,
        low=low,
        high=high,
        images=len(kept_I),
        scores_digest=digests[0],
        ids_digest=digests[1],
    )


def discard_scores(folder: Path) -> None:
    """Remove what :func:`keep_scores` left."""
    for name in (SCORES, IDS):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def split_rows(store: Store, file: ScoreFile, *, split: str) -> NDArray[np.bytes_]:
    """The image id of each row of a file [I], empty where the image is of another split.

    Every image of the split must be in the file once. Raises :class:`ScoringError` that counts the
    images that are missing, unknown or there more than once.
    """
    rows_of: dict[str, int] = {}
    doubled = [name for row, name in enumerate(file.ids) if rows_of.setdefault(name, row) != row]
    ids_I = np.zeros(len(file.ids), dtype=IMAGE_ID)
    known_I = np.zeros(len(file.ids), dtype=np.bool_)
    missing = _Some()
    for batch in store.scan("images", columns=["image_id", "uri", "other_uris", "split"]):
        for image_id, uri, others, its_split in zip(
            *(batch.column(n).to_pylist() for n in range(4)), strict=True
        ):
            names = dict.fromkeys((str(image_id), str(uri), *map(str, others or ())))
            rows = [rows_of[name] for name in names if name in rows_of]
            known_I[rows] = True
            doubled += [file.ids[row] for row in rows[1:]]
            if its_split == split and rows:
                ids_I[rows[0]] = str(image_id).encode()
            elif its_split == split:
                missing.add(str(uri))
    lacking = [file.ids[row] for row in np.flatnonzero(~known_I).tolist()]
    _refuse(file, doubled, lacking, missing, split)
    return ids_I


class _Some:
    """How many there were, and the first few of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < 3:
            self.first.append(name)


def _refuse(
    file: ScoreFile, doubled: Sequence[str], lacking: Sequence[str], missing: _Some, split: str
) -> None:
    if doubled:
        found = some_of(doubled, "image")
        raise ScoringError(
            f"{file.path}: {found} there more than once: give each image of the store one row"
        )
    if lacking:
        found = some_of(lacking, "image")
        raise ScoringError(
            f"{file.path}: {found} not in the store: name images by the image_id or the path that "
            "'taistore export-scores' writes"
        )
    if missing.count:
        found = some_of(missing.first, "image", count=missing.count)
        raise ScoringError(
            f"{file.path}: {found} of split {split!r} without scores: give scores of all of them, "
            "or name another split="
        )
    if not len(file.ids):
        raise ScoringError(f"{file.path}: holds no scores: give those of split {split!r}")


def _numbered(file: ScoreFile) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    start = 0
    for scores_BN in file.blocks():
        yield slice(start, start + len(scores_BN)), scores_BN
        start += len(scores_BN)


def _on_disk(*paths: Path) -> None:
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
