"""What is looked for: a text, a photo, labels, which people may call by several names."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taistore.errors import LabelError, ScoringError
from taistore.labels import LabelSet, normalise_name

CUT = 0.5
"""The score from which on a photo counts as showing a label, where nobody says."""

TOP_K = 20
"""Photos that are found where nobody says how many."""

_SUGGESTED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question to a store of photos; at least one of text, ``like``, ``labels`` and ``without``.

    ``labels`` must all be there, ``without`` must not be; both are keys, names or synonyms.
    ``least`` is the lowest score: of the labels where any is named, else the cosine. Raises
    :class:`ScoringError` for a question that asks nothing, or a value out of range.
    """

    text: str | None = None
    like: str | Path | None = None
    labels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    least: float | None = None
    split: str | None = None
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        if self.text is not None and not self.text.strip():
            raise ScoringError("the text to find is empty: say what the photos show")
        if not (self.text or self.like is not None or self.labels or self.without):
            raise ScoringError(
                "nothing to find: give a text, such as 'a dog on a beach', or like= or label="
            )
        if self.top_k < 1:
            raise ScoringError(f"top_k is {self.top_k}: it must be at least 1")
        low = 0 if self.labels or not self.by_vector else -1
        if self.least is not None and not low <= self.least <= 1:
            raise ScoringError(f"min is {self.least}: it must lie between {low} and 1")

    @property
    def by_vector(self) -> bool:
        """Whether photos are ranked by their cosine to a text or a photo."""
        return self.text is not None or self.like is not None

    @property
    def by_label(self) -> bool:
        """Whether a run's scores are needed."""
        return bool(self.labels or self.without)

    @property
    def label_cut(self) -> float | None:
        """The score that each of ``labels`` must have; None where it only ranks."""
        if not self.labels:
            return None
        if self.least is None:
            return CUT if self.by_vector else None
        return self.least

    @property
    def without_cut(self) -> float:
        """The score above which a photo shows what it must not."""
        return self.least if self.labels and self.least is not None else CUT

    def __str__(self) -> str:
        """The question in words, for the head of a page."""
        parts = [f"“{self.text}”"] if self.text is not None else []
        if self.like is not None:
            parts.append(f"like {Path(self.like).name}")
        parts += [f"with {name}" for name in self.labels]
        parts += [f"without {name}" for name in self.without]
        return ", ".join(parts)


def label_ids(labels: LabelSet, names: Iterable[str]) -> list[int]:
    """The labels of these keys, names or synonyms, each once.

    Raises :class:`LabelError` naming those that are written nearly like one that is not there.
    """
    found = []
    for name in names:
        try:
            found.append(labels.find(name))
        except LabelError as error:
            raise _unknown(labels, name, error) from error
    return list(dict.fromkeys(found))


def nearly(name: str, labels: LabelSet) -> list[str]:
    """Names of labels that are written nearly like this one, the nearest first."""
    names: dict[str, str] = {}
    for label in labels:
        for one in (label.name, *label.synonyms, label.key):
            names.setdefault(normalise_name(one), one)
    near: Sequence[str] = difflib.get_close_matches(
        normalise_name(name), names, n=_SUGGESTED, cutoff=0.6
    )
    return [names[one] for one in near]


def _unknown(labels: LabelSet, name: str, error: LabelError) -> LabelError:
    """The error, with what may have been meant; of several labels with one name as it is."""
    if "ambiguous" in str(error):
        return error
    near = nearly(name, labels)
    hint = (
        f"did you mean {', '.join(map(repr, near))}?"
        if near
        else f"search for it as a text: taistore find {name!r}"
    )
    return LabelError(f"{error}: {hint}")
