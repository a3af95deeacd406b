"""The labels of one manifest row: names to label ids, or the reason why the row cannot be used."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from taistore.errors import LabelError, ManifestError
from taistore.images.items import Annotation
from taistore.labels import LabelSet, normalise_name

SEPARATOR = "|"
"""Separates labels where a row holds them as one text, as CSV must."""

COLUMNS = ("image", "labels", "positives", "negatives", "split")

_CACHE_SIZE = 65536


class RowError(ManifestError):
    """One row is not usable; ``reason`` is the code kept in ``rejects``."""

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class AnnotationReader:
    """Reads labels, positives, negatives and split of manifest rows against a label set.

    A list is taken as it is; a text is split at ``|``, and an empty one says nothing. So "none of
    the labels" can be said by an empty list only, in JSONL and Parquet.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._found: dict[str, int | RowError] = {}
        self._spellings: dict[str, str] = {}

    def annotation(self, row: Mapping[str, Any]) -> Annotation | None:
        """What the row says about the labels, None where it says nothing; raises RowError."""
        complete = self._ids(row, "labels")
        positives, negatives = self._ids(row, "positives"), self._ids(row, "negatives")
        if complete is not None:
            if positives is not None or negatives is not None:
                raise RowError(
                    "gives 'labels' (all that there are) together with 'positives' or "
                    "'negatives' (some of them): keep one of the two forms",
                    reason="conflict",
                )
            return Annotation(positives=complete, complete=True)
        if positives is None and negatives is None:
            return None
        both = set(positives or ()) & set(negatives or ())
        if both:
            key = self._labels[min(both)].key
            raise RowError(
                f"label {key!r} is both positive and negative: remove one", reason="conflict"
            )
        return Annotation(positives=positives or (), negatives=negatives or ())

    def split(self, row: Mapping[str, Any]) -> str | None:
        """The row's split, None where it names none; raises RowError."""
        value = row.get("split")
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not value.isprintable() or len(value) > 100:
            raise RowError(f"split is {value!r:.80}: it must be a short text", reason="malformed")
        return value.strip() or None

    def _ids(self, row: Mapping[str, Any], column: str) -> tuple[int, ...] | None:
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
        return tuple(sorted({self._find(name) for name in value}))

    def _find(self, name: str) -> int:
        if name not in self._found:
            if len(self._found) >= _CACHE_SIZE:
                self._found.clear()
            try:
                self._found[name] = self._labels.find(name)
            except LabelError as error:
                self._found[name] = self._unknown(name, error)
        found = self._found[name]
        if isinstance(found, RowError):
            raise found
        return found

    def _unknown(self, name: str, error: LabelError) -> RowError:
        if not self._spellings:
            for label in reversed(self._labels):
                for text in (label.key, *label.synonyms, label.name):
                    self._spellings[normalise_name(text)] = text
        folded = normalise_name(name)
        if folded in self._spellings:
            return RowError(str(error), reason="ambiguous_label")
        close = difflib.get_close_matches(folded, self._spellings, n=3)
        hint = " or ".join(repr(self._spellings[text]) for text in close)
        return RowError(
            f"label {name!r:.100} is not in the label set"
            + (f": did you mean {hint}?" if hint else ": add it to the labels or remove it"),
            reason="unknown_label",
        )


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
