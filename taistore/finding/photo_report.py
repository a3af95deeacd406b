"""All that a store knows of one photo, and why a run tags it as it does."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A text, or the path of a photo, with its cosine to the photo."""

    name: str
    cosine: float
    identity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BestRegion:
    """The region that speaks most for a label: its row and column from 1 in a grid of so many."""

    row: int
    column: int
    grid: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedTag:
    """A tag and what speaks for it.

    ``score`` is the tag's own: 1 where it is ``known`` to be there (else None: it is scored).
    ``whole`` is the score of the whole photo alone, ``region`` the best of its regions as if it
    were a photo; ``captions`` are the nearest texts that hold the label.
    """

    key: str
    name: str
    score: float
    known: bool | None
    whole: float | None
    region: BestRegion | None
    captions: tuple[Neighbour, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoReport:
    """What is known of a photo, and its tags by a run.

    ``stored`` says whether it is in the store; one that is not was encoded for this. ``positives``
    and ``negatives`` are keys of labels, ``complete`` that all others are absent. ``rejects`` are
    what was set aside under its paths. ``notes`` say what is missing here and what makes it.
    """

    image_id: str
    uri: str
    other_uris: tuple[str, ...]
    stored: bool
    gone: bool
    width: int | None
    height: int | None
    split: str | None
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    complete: bool
    encoder: str
    run_id: str | None
    step: str | None
    tags: tuple[ExplainedTag, ...]
    texts: tuple[Neighbour, ...]
    photos: tuple[Neighbour, ...]
    rejects: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
