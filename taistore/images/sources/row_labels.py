"""What one row says about labels: names to label ids, or why the row cannot be used."""

import difflib
import functools
import math
from collections.abc import Mapping
from typing import Any

from taistore.errors import LabelError, ManifestError, UnknownLabelError
from taistore.images.sources.source import Annotation
from taistore.labels import ABSENT, PRESENT, UNKNOWN, LabelSet

SEPARATOR = "|"
"""Separates labels where a row holds them as one text, as CSV must."""

COLUMNS = ("image", "labels", "positives", "negatives", "split")

_CACHE_SIZE = 65536
_COLUMN_SETS = 256

_CODES = {"1": PRESENT, "0": ABSENT, "-1": UNKNOWN, "": None, None: None}
"""Codes by their text; an empty cell says nothing."""


class RowError(ManifestError):
    """One row is not usable; ``reason`` is the code kept in ``rejects``."""

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class LabelFinder:
    """Finds labels of a set by key, name or synonym, and says why one is not found."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._found: dict[str, int | RowError] = {}

    def find(self, name: str) -> int:
        """The label's id; raises RowError with reason unknown_label or ambiguous_label."""
        if name not in self._found:
            if len(self._found) >= _CACHE_SIZE:
                self._found.clear()
            try:
                self._found[name] = self._labels.find(name)
            except UnknownLabelError as error:
                self._found[name] = RowError(str(error), reason="unknown_label")
            except LabelError as error:
                self._found[name] = RowError(str(error), reason="ambiguous_label")
        found = self._found[name]
        if isinstance(found, RowError):
            raise found
        return found

    def find_any(self, name: str) -> int | None:
        """The label's id, None where no label has this name; raises RowError for several."""
        try:
            return self.find(name)
        except RowError as error:
            if error.reason == "unknown_label":
                return None
            raise


class AnnotationReader:
    """Reads what rows say about labels, and their split, against a label set.

    Three forms: ``labels`` holds all labels; ``positives`` and ``negatives`` hold those that are
    known; codes, 1 present, 0 absent, -1 unknown (section 3.3 of arXiv:2312.04160), stand in
    ``labels`` as an object or in one column per label. A list is taken as it is; a text is split
    at ``|``, and an empty one says nothing. So "none of the labels" can be said by an empty list
    only, in JSONL and Parquet.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._finder = LabelFinder(labels)
        self._columns: dict[tuple[str, ...], dict[str, int]] = {}

    def label_columns(self, columns: tuple[str, ...]) -> dict[str, int]:
        """Label id by column, where there is one column per label; empty in the other forms.

        As soon as one column is a label, each must be one, save "image" and "split". Raises
        RowError for a column that is none, or looks like a misspelt one.
        """
        if columns not in self._columns:
            if len(self._columns) >= _COLUMN_SETS:
                self._columns.clear()
            self._columns[columns] = self._read_columns(columns)
        return self._columns[columns]

    def annotation(
        self, row: Mapping[str, Any], *, wide: bool = False, unknown: list[str] | None = None
    ) -> Annotation | None:
        """What the row says about the labels, None where it says nothing; raises RowError.

        ``wide``: without the columns of the other forms, columns named like labels hold codes.
        Names that are no label are an error, or go to ``unknown``. Then the row's labels are not
        all that there are: what is meant may be a label of the set by another name.
        """
        if isinstance(row.get("labels"), dict):
            self._require_alone(row)
            codes = [(self._known(k, unknown), k, v) for k, v in row["labels"].items()]
            return self._coded([(i, k, v) for i, k, v in codes if i is not None])
        if wide and (columns := self.label_columns(tuple(row))):
            return self._coded([(i, column, row[column]) for column, i in columns.items()])
        complete = self._ids(row, "labels", unknown)
        if complete is not None:
            self._require_alone(row)
            if not unknown:
                return Annotation(positives=complete, complete=True)
            return Annotation(positives=complete) if complete else None
        positives = self._ids(row, "positives", unknown)
        negatives = self._ids(row, "negatives", unknown)
        if positives is None and negatives is None:
            return None
        if unknown and not positives and not negatives:
            return None
        self._require_no_conflict(set(positives or ()), set(negatives or ()))
        return Annotation(positives=positives or (), negatives=negatives or ())

    def split(self, row: Mapping[str, Any]) -> str | None:
        """The row's split, None where it names none; raises RowError."""
        value = row.get("split")
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not value.isprintable() or len(value) > 100:
            raise RowError(f"split is {value!r:.80}: it must be a short text", reason="malformed")
        return value.strip() or None

    def _read_columns(self, columns: tuple[str, ...]) -> dict[str, int]:
        others = tuple(column for column in columns if column not in ("image", "split"))
        if any(form in others for form in COLUMNS):
            require_known_columns(columns)
            return {}
        known = {column: self._finder.find_any(column) for column in others}
        if all(label is None for label in known.values()):
            require_known_columns(columns)
            return {}
        require_known_columns(("image", *(c for c in others if known[c] is None)))
        found: dict[str, int] = {}
        for column in others:
            try:
                label = self._finder.find(column)
            except RowError as error:
                raise RowError(
                    f"column {column!r:.60} stands among columns of labels: {error}",
                    reason=error.reason,
                ) from None
            if label in found.values() or others.count(column) > 1:
                raise RowError(
                    f"label {self._labels[label].key!r} has several columns: remove all but one",
                    reason="conflict",
                )
            found[column] = label
        return found

    def _coded(self, codes: list[tuple[int, str, Any]]) -> Annotation | None:
        known: dict[int, set[int]] = {PRESENT: set(), ABSENT: set(), UNKNOWN: set()}
        for label, name, value in codes:
            code = _CODES.get(_code_text(value), value)
            if code is None:
                continue
            if not isinstance(code, int) or code not in known:
                raise RowError(
                    f"{name!r:.60} is {value!r:.40}: it must be 1 (present), 0 (absent) or -1 "
                    "(unknown)",
                    reason="malformed",
                )
            known[code].add(label)
        self._require_no_conflict(known[PRESENT], known[ABSENT])
        if not any(known.values()):
            return None
        if len(known[PRESENT]) + len(known[ABSENT]) == len(self._labels):
            return Annotation(positives=tuple(sorted(known[PRESENT])), complete=True)
        return Annotation(
            positives=tuple(sorted(known[PRESENT])),
            negatives=tuple(sorted(known[ABSENT])),
            unknown=tuple(sorted(known[UNKNOWN] - known[PRESENT] - known[ABSENT])),
        )

    def _require_alone(self, row: Mapping[str, Any]) -> None:
        if any(self._ids(row, column, []) is not None for column in ("positives", "negatives")):
            raise RowError(
                "gives 'labels' (all that there are) together with 'positives' or "
                "'negatives' (some of them): keep one of the two forms",
                reason="conflict",
            )

    def _require_no_conflict(self, positives: set[int], negatives: set[int]) -> None:
        both = positives & negatives
        if both:
            key = self._labels[min(both)].key
            raise RowError(
                f"label {key!r} is both positive and negative: remove one", reason="conflict"
            )

    def _known(self, name: str, unknown: list[str] | None) -> int | None:
        """The label of this name; where there is none and ``unknown`` takes it, None."""
        if unknown is None:
            return self._finder.find(name)
        found = self._finder.find_any(name)
        if found is None:
            unknown.append(name)
        return found

    def _ids(
        self, row: Mapping[str, Any], column: str, unknown: list[str] | None
    ) -> tuple[int, ...] | None:
        value = row.get(column)
        if isinstance(value, str):
            value = [part.strip() for part in value.split(SEPARATOR) if part.strip()] or None
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise RowError(
                f"{column} is {value!r:.80}: it must be a list of label names or keys",
                reason="malformed",
            )
        found = (self._known(name, unknown) for name in value)
        return tuple(sorted({label for label in found if label is not None}))


def _code_text(value: object) -> str | None:
    """A code as text, also where pandas or Arrow hold it as 1.0, and NaN as none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float):
        if math.isnan(value):
            return ""
        if value in (PRESENT, ABSENT, UNKNOWN):
            return str(int(value))
    return None if value is None else repr(value)


@functools.lru_cache(maxsize=256)
def require_known_columns(columns: tuple[str, ...]) -> None:
    """Raise :class:`RowError` where a column looks like a misspelt one that is not there."""
    for column in columns:
        close = difflib.get_close_matches(str(column).lower(), COLUMNS, n=1, cutoff=0.8)
        if close and column not in COLUMNS and close[0] not in columns:
            raise RowError(
                f"column {column!r:.60} is not known: did you mean {close[0]!r}?",
                reason="malformed",
            )
