"""Label sets: a label is its key; names may repeat, synonyms help to find it in captions."""

import difflib
import hashlib
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, overload

from taistore.errors import LabelError, UnknownLabelError

PRESENT: Final = 1
ABSENT: Final = 0
UNKNOWN: Final = -1
"""What is known of a label in an image (section 3.3 of arXiv:2312.04160). Unknown is not absent."""

SYNONYM_SEPARATOR = "|"

SEARCHES: Final = 100
"""Unknown names for which a label set looks for near ones: of 7,000 labels each takes 0.1 s."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label. ``key`` identifies it everywhere; ``name`` is what people and prompts read."""

    key: str
    name: str
    synonyms: tuple[str, ...] = ()


def normalise_name(name: str) -> str:
    """Fold case, width and white space, for comparing names.

    >>> normalise_name("  Traffic\\tLight ")
    'traffic light'
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def combination_id(keys: Iterable[str]) -> int:
    """Signed 64-bit id of a set of label keys, equal on every machine and in any order.

    >>> combination_id(["dog", "cat"]) == combination_id(["cat", "dog", "cat"])
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in sorted(set(keys)):
        encoded = key.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(digest.digest(), "big", signed=True)


class LabelSet(Sequence[Label]):
    """An ordered set of labels; the position of a label is its ``label_id``.

    Raises :class:`LabelError` on an empty set, an empty key or name, or a key that occurs twice.
    """

    def __init__(self, labels: Iterable[Label], *, places: Sequence[str] | None = None) -> None:
        self._labels = tuple(labels)
        if not self._labels:
            raise LabelError("the label set is empty: give at least one label")
        self._by_key: dict[str, int] = {}
        for i, label in enumerate(self._labels):
            where = places[i] if places else f"label {i + 1}"
            if not label.key.strip() or not label.name.strip():
                raise LabelError(f"{where}: empty label: remove the row or give it a name")
            if label.key in self._by_key:
                first = self._by_key[label.key]
                raise LabelError(
                    f"{where}: label {label.key!r} was already given at "
                    f"{places[first] if places else f'label {first + 1}'}: remove one of the two"
                )
            self._by_key[label.key] = i
        self._by_own_name: dict[str, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for i, label in enumerate(self._labels):
            self._by_own_name.setdefault(normalise_name(label.name), []).append(i)
            for name in dict.fromkeys(map(normalise_name, (label.name, *label.synonyms))):
                self._by_name.setdefault(name, []).append(i)
        self._searched = 0
        self._name_counts = Counter(normalise_name(label.name) for label in self._labels)

    def differences(self, others: "LabelSet") -> str:
        """In what ``others`` are other labels, for a message."""
        mine, theirs = set(self.keys), set(others.keys)
        new, gone = sorted(theirs - mine), sorted(mine - theirs)
        found = [
            f"{len(keys):,} {what}, such as {keys[0]!r:.80}"
            for keys, what in ((new, "more"), (gone, "fewer"))
            if keys
        ]
        return "; ".join(found) or "the same in another order or with other names"

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Label: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Label, ...]: ...
    def __getitem__(self, index: int | slice) -> Label | tuple[Label, ...]:
        return self._labels[index]

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSet) and self._labels == other._labels

    def __hash__(self) -> int:
        return hash(self._labels)

    @property
    def keys(self) -> list[str]:
        """Keys in ``label_id`` order."""
        return [label.key for label in self._labels]

    def combination_id(self, label_ids: Iterable[int]) -> int:
        """64-bit id of the combination of these labels."""
        return combination_id(self._labels[i].key for i in label_ids)

    def shared_names(self) -> dict[str, list[str]]:
        """Names that several keys carry, with those keys; empty in most sets."""
        shared: dict[str, list[str]] = {}
        for label in self._labels:
            name = normalise_name(label.name)
            if self._name_counts[name] > 1:
                shared.setdefault(name, []).append(label.key)
        return shared

    def prompt_name(self, label_id: int) -> str:
        """The name used in prompts; where keys share it, the label's own synonym is added.

        "organ" with the synonym "pipe organ" becomes "organ (pipe organ)"; without a synonym of
        its own the name stands alone, as nothing is known that tells the keys apart.
        """
        label = self._labels[label_id]
        name = " ".join(label.name.split())
        if self._name_counts[normalise_name(name)] == 1:
            return name
        for synonym in label.synonyms:
            if len(self._by_name[normalise_name(synonym)]) == 1:
                return f"{name} ({synonym})"
        return name

    def find(self, text: str) -> int:
        """``label_id`` of a key, else of a name, else of a synonym that only one label carries.

        A label's own name wins over the same word as another label's synonym. Raises
        :class:`UnknownLabelError` when nothing matches, :class:`LabelError` when several do.
        """
        if text in self._by_key:
            return self._by_key[text]
        name = normalise_name(text)
        ids = self._by_own_name.get(name) or self._by_name.get(name, [])
        if len(ids) == 1:
            return ids[0]
        if not ids:
            raise UnknownLabelError(self._unknown(text))
        keys = ", ".join(self._labels[i].key for i in ids[:5])
        raise LabelError(f"label {text!r} is ambiguous: use one of the keys {keys}")

    def _unknown(self, text: str) -> str:
        """That no label is called so, which ones are called nearly so, and what adds it."""
        said = f"label {text!r:.100} is not in the label set"
        near: list[str] = []
        if self._searched < SEARCHES:
            self._searched += 1
            spellings = {
                normalise_name(spelling): spelling
                for label in reversed(self._labels)
                for spelling in (label.key, *label.synonyms, label.name)
            }
            close = difflib.get_close_matches(normalise_name(text), spellings, n=3)
            near = [spellings[name] for name in close]
        hint = " or ".join(f"{name!r:.60}" for name in near)
        said += f": did you mean {hint}? Else add it by" if near else ": add it by"
        return f"{said} taistore labels add {shlex.quote(text) if len(text) <= 100 else 'NAME'}"
