"""Photos with their tags as exports take them: from a file of tags, or from a run."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taistore.contracts import RUN_KEY, SCORES
from taistore.errors import ExportError
from taistore.scoring.tags.read_tags import tag_tables

_ROWS = 65_536


class PhotoTag(NamedTuple):
    """A tag of a photo; ``rank`` 1 is the best."""

    key: str
    name: str
    score: float
    rank: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedPhoto:
    """A photo, by its path, and its tags, best first; may have none."""

    uri: str
    image_id: str
    tags: tuple[PhotoTag, ...]


class TaggedPhotos:
    """All photos of one source of tags, by path; ``run`` is what gave them.

    ``threshold`` and ``top_k`` leave out tags; a photo whose last tag goes stays, without any.
    """

    def __init__(
        self,
        rows: pa.Table,
        *,
        run: str,
        threshold: float | None = None,
        top_k: int | None = None,
    ) -> None:
        self.run = run
        self._least = -1.0 if threshold is None else threshold
        self._most = top_k
        rows = _compact(rows)
        if not pc.all(pc.is_finite(rows.column("score"))).as_py() and rows.num_rows:
            bad = rows.filter(pc.invert(pc.is_finite(rows.column("score")))).slice(0, 1).to_pylist()
            raise ExportError(
                f"{bad[0]['uri']}: the score of {bad[0]['label_name']!r} is {bad[0]['score']}, no "
                "number: score again"
            )
        self._rows = rows.sort_by([("uri", "ascending"), ("rank", "ascending")])

    def __len__(self) -> int:
        return int(pc.count_distinct(self._rows.column("uri")).as_py())

    def __iter__(self) -> Iterator[TaggedPhoto]:
        group: list[dict[str, object]] = []
        for start in range(0, self._rows.num_rows, _ROWS):
            for row in self._rows.slice(start, _ROWS).to_pylist():
                if group and row["uri"] != group[0]["uri"]:
                    yield self._photo(group)
                    group = []
                group.append(row)
        if group:
            yield self._photo(group)

    def _photo(self, rows: list[dict[str, object]]) -> TaggedPhoto:
        tags: dict[str, PhotoTag] = {}
        for row in rows:
            key, score = str(row["label_key"]), float(str(row["score"]))
            if row["rank"] and score >= self._least and len(tags) != self._most:
                tags.setdefault(
                    key, PhotoTag(key, str(row["label_name"]), score, int(str(row["rank"])))
                )
        return TaggedPhoto(
            uri=str(rows[0]["uri"]), image_id=str(rows[0]["image_id"]), tags=tuple(tags.values())
        )

    @property
    def rows(self) -> pa.Table:
        """Rows of ``contracts.SCORES``, by path and rank; rank 0 stands for a photo without any."""
        kept: list[dict[str, object]] = []
        for photo in self:
            head = {"image_id": photo.image_id, "uri": photo.uri}
            if not photo.tags:
                empty = {"rank": 0, "label_key": "", "label_name": "", "score": 0.0}
                kept.append({**head, **empty})
            kept += [
                {**head, "rank": n, "label_key": t.key, "label_name": t.name, "score": t.score}
                for n, t in enumerate(photo.tags, start=1)
            ]
        return pa.Table.from_pylist(kept, schema=SCORES)

    def without(self, uris: Collection[str]) -> "TaggedPhotos":
        """The same less some photos."""
        gone = pa.array(sorted(uris), pa.string())
        kept = self._rows.filter(pc.invert(pc.is_in(self._rows.column("uri"), value_set=gone)))
        threshold = None if self._least < 0 else self._least
        return TaggedPhotos(kept, run=self.run, threshold=threshold, top_k=self._most)

    def labels(self) -> dict[str, str]:
        """The name of every label that a photo is tagged with, by key, in the order of keys."""
        found = {tag.key: tag.name for photo in self for tag in photo.tags}
        return dict(sorted(found.items()))

    def folder(self) -> str:
        """The folder that holds all photos, absolute."""
        folders = {_folder(str(uri)) for uri in self._rows.column("uri").unique().to_pylist()}
        return os.path.commonpath(folders) if folders else str(Path.cwd())


def read_tagged_photos(
    path: str | Path,
    *,
    run: str | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
) -> TaggedPhotos:
    """The photos of a file that ``taistore score`` or ``taistore tag`` wrote.

    ``run`` is what the tags are marked with: None is the run that a Parquet file names, else the
    file's own name. Raises :class:`ScoringError` where it is no file of tags.
    """
    path = Path(path)
    tables = list(tag_tables(path))
    rows = pa.concat_tables([SCORES.empty_table(), *tables])
    return TaggedPhotos(
        rows, run=run or _run_of(path) or path.name, threshold=threshold, top_k=top_k
    )


def _run_of(path: Path) -> str:
    if path.suffix.lower() != ".parquet":
        return ""
    named = (pq.read_schema(path).metadata or {}).get(RUN_KEY, b"")
    return named.decode(errors="replace")


def _compact(rows: pa.Table) -> pa.Table:
    """The same with each label's texts held once."""
    columns = [
        column.cast(pa.dictionary(pa.int32(), pa.string())) if name.startswith("label_") else column
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    ]
    return pa.table(columns, names=rows.column_names)


def _folder(uri: str) -> str:
    return os.path.dirname(os.path.abspath(uri))  # noqa: PTH100, PTH120 - links stay links
