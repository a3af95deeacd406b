"""Labels from a CSV table with a header."""

import csv
import io
from collections.abc import Iterator
from typing import Final

from taistore.errors import LabelError
from taistore.labels import SYNONYM_SEPARATOR, Label

KEYS: Final = ("key", "mid", "labelname")
NAMES: Final = ("name", "displayname")
SEPARATORS: Final = (",", ";", "\t")


def table_labels(path: object, text: str) -> Iterator[tuple[int, Label]]:
    """Line and label of each row of a table separated by commas, semicolons or tabs.

    Raises :class:`LabelError` where the header names no column of names, or a row does not fit.
    """
    separator = _separator(path, text)
    # Not splitlines(): a name may hold U+0085 or U+2028, which end no line of a file.
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    line = 1
    try:
        header = {(field or "").strip().lower(): field for field in reader.fieldnames or []}
        name_field = next(header[name] for name in NAMES if name in header)
        key_field = next((header[key] for key in KEYS if key in header), name_field)
        synonyms_field = header.get("synonyms")
        line = reader.line_num + 1
        for row in reader:
            if any(value.strip() for value in row.get(None) or ()):
                raise LabelError(
                    f"{path}: line {line}: more values than the header has columns: put a name "
                    f"that holds {separator!r} in double quotes"
                )
            raw = (row.get(synonyms_field) or "") if synonyms_field else ""
            synonyms = tuple(s.strip() for s in raw.split(SYNONYM_SEPARATOR) if s.strip())
            name = " ".join((row[name_field] or "").split())
            yield line, Label((row[key_field] or "").strip(), name, synonyms)
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(f"{path}: line {line}: {error}: mend the CSV row") from None


def _separator(path: object, text: str) -> str:
    """What separates the columns of a header that names one of names."""
    head = text.split("\n", 1)[0].strip("\r")
    for separator in SEPARATORS:
        fields = {field.strip().strip('"').lower() for field in head.split(separator)}
        if fields & set(NAMES):
            return separator
    if not any(separator in text for separator in SEPARATORS):
        raise LabelError(
            f"{path}: line 1: no header, and one column: write 'name' above the labels, or save "
            "the file as .txt"
        )
    raise LabelError(
        f"{path}: line 1: no 'name' column: the header must be key,name, separated by a comma"
    )
