"""The labels of a file."""

from collections.abc import Sequence
from pathlib import Path

from taistore.errors import LabelError
from taistore.label_files.label_lines import text_labels
from taistore.label_files.label_tables import table_labels
from taistore.labels import Label, LabelSet, normalise_name
from taistore.progress import Note

SHOWN = 5
"""Labels that a message names."""

_SUFFIXES = ("", ".txt", ".csv")


def read_labels(path: str | Path, *, note: Note | None = None) -> LabelSet:
    """Read a label file: ``.txt`` (one name a line) or ``.csv`` with a header.

    In text, also without a suffix, a line that is ``#`` or starts with ``# `` is a comment (``#x``
    is a label); quotes, and bullets and numbers that all lines have, are left out, and ``note`` is
    told so. CSV columns, separated by commas, semicolons or tabs: ``key`` (or ``mid``,
    ``LabelName``), ``name`` (or ``DisplayName``), optional ``synonyms`` separated by ``|``; without
    a key column the name is the key. Raises :class:`LabelError` with file and line.
    """
    path = Path(path)
    text = _text(path)
    told = note or (lambda _: None)
    table = path.suffix.lower() == ".csv"
    rows = list(table_labels(path, text) if table else text_labels(path, text, told))
    if not rows:
        raise LabelError(
            f"{path}: no labels below the header: add one row per label"
            if table
            else f"{path}: no labels, only comments: put one label on each line"
        )
    _check_keys(path, rows)
    return LabelSet([label for _, label in rows], places=[f"{path}: line {n}" for n, _ in rows])


def almost_equal(labels: LabelSet) -> str | None:
    """A warning about keys that differ in case, width or composition only; None without any."""
    alike: dict[str, list[str]] = {}
    for key in labels.keys:
        alike.setdefault(normalise_name(key), []).append(key)
    found = [keys for keys in alike.values() if len(keys) > 1]
    if not found:
        return None
    named = "; ".join(", ".join(map(repr, keys)) for keys in found[:SHOWN])
    more = f"; and {len(found) - SHOWN:,} more" if found[SHOWN:] else ""
    return (
        f"warning: labels that differ only in case or in how letters are written stay separate: "
        f"{named}{more}; take out what is meant as one"
    )


def _text(path: Path) -> str:
    if path.suffix.lower() not in _SUFFIXES and not path.is_dir():
        raise LabelError(f"{path}: labels are read from .txt and .csv files: save it as one")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabelError(f"{path}: no such label file: check the path") from None
    except IsADirectoryError:
        raise LabelError(f"{path} is a directory: give a .txt or .csv file of labels") from None
    except PermissionError:
        raise LabelError(f"{path}: no permission to read it: check the file's mode") from None
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from None
    if not text.strip():
        raise LabelError(f"{path}: the label file is empty: put one label on each line")
    return text


def _check_keys(path: Path, rows: Sequence[tuple[int, Label]]) -> None:
    """Raise about all keys that are given several times, where there are several such keys."""
    lines: dict[str, list[int]] = {}
    for number, label in rows:
        lines.setdefault(label.key, []).append(number)
    twice = {key: numbers for key, numbers in lines.items() if key and len(numbers) > 1}
    if len(twice) < 2:
        return  # The label set itself says this of one.
    named = "; ".join(
        f"{key!r:.60} in lines {', '.join(map(str, numbers[:SHOWN]))}"
        for key, numbers in list(twice.items())[:SHOWN]
    )
    more = f"; and {len(twice) - SHOWN:,} more" if len(twice) > SHOWN else ""
    raise LabelError(
        f"{path}: {len(twice):,} labels are given several times: {named}{more}: give each once"
    )
