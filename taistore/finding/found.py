"""What was found: photos in their order, and what the order rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taistore.scoring.tags.image_tags import Tag


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPhoto:
    """A photo that was found; ``gone`` says that no file is at its path any more.

    ``score`` is what it was ranked by (:attr:`Found.ranked_by`); ``tags`` are those of a run, None
    where none was asked.
    """

    rank: int
    score: float
    image_id: str
    uri: str
    other_uris: tuple[str, ...]
    split: str
    gone: bool
    tags: tuple[Tag, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        tags = self.tags
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "image_id": self.image_id,
            "uri": self.uri,
            "other_uris": list(self.other_uris),
            "split": self.split,
            "gone": self.gone,
            "tags": None
            if tags is None
            else [{"key": t.key, "name": t.name, "score": round(t.score, 6)} for t in tags],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Found(Sequence[FoundPhoto]):
    """Photos, best first, of ``searched`` vectors of an encoder.

    ``ranked_by`` is "cosine" or "labels". Cosines are an order of the photos of one question, no
    probability, and those of two questions do not compare. ``run_id`` and ``step`` gave the scores
    of labels and the tags; None where none was asked. ``indexed`` says that the store's index over
    vectors answered, else the search was exact.
    """

    question: str
    ranked_by: str
    encoder: str
    searched: int
    indexed: bool
    run_id: str | None
    step: str | None
    photos: tuple[FoundPhoto, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: Any) -> Any:
        return self.photos[place]

    @property
    def gone(self) -> int:
        """How many of the photos have no file any more."""
        return sum(photo.gone for photo in self.photos)

    @property
    def order(self) -> str:
        """What the scores are, in a sentence."""
        if self.ranked_by == "cosine":
            return "Scores are cosines: an order of these photos, no probability."
        return f"Scores are those of run {self.run_id}; what is known of a photo counts first."

    @property
    def paths(self) -> list[str]:
        """The path of each photo."""
        return [photo.uri for photo in self.photos]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "question": self.question,
            "ranked_by": self.ranked_by,
            "encoder": self.encoder,
            "searched": self.searched,
            "search": "index" if self.indexed else "exact",
            "run_id": self.run_id,
            "step": self.step,
            "gone": self.gone,
            "photos": [photo.to_json() for photo in self.photos],
        }


def is_gone(uri: str) -> bool:
    """Whether a path of this machine leads to no file; an address elsewhere is not looked at."""
    if "://" in uri:
        return False
    try:
        return not Path(uri).exists()
    except (OSError, ValueError):
        return True
