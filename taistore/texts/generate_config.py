"""What ``generate-texts`` is asked to do, and what it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from taistore.errors import TextError
from taistore.texts.audit.caption_audit import LOST, Lost
from taistore.texts.combinations.dealing import Combinations
from taistore.texts.combinations.sampling import (
    DEFAULT_SIZES,
    DEFAULT_TEXTS_PER_COMBINATION,
    Balance,
)

JOB = "generate-texts"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """What to generate; raising ``count`` later keeps every text that is there.

    ``combinations`` says which labels are put together, as in :func:`sample_combinations`;
    "plausible" ones follow the store's labelled training images as they are when the job starts.
    ``sizes`` maps labels per combination to their relative frequency; every label occurs in at
    least ``min_per_label`` texts. A text that is too long or repeats another of its combination is
    asked for up to ``attempts`` times. ``max_rejects`` stops the job once more texts are rejected;
    ``retry_rejects`` asks again for what an earlier run rejected.

    For texts by a language model: ``lost_labels`` says what becomes of a caption that does not
    mention all its labels: it is kept for those that it mentions ("reduce", the default), written
    again and in the end reduced ("retry"), or rejected ("drop").

    ``concurrent`` combinations are under way at once; rows are committed by ``commit_rows``, or
    after ``commit_seconds`` where there are fewer.
    """

    count: int
    sizes: Mapping[int, float] = field(default_factory=lambda: dict(DEFAULT_SIZES))
    texts_per_combination: int = DEFAULT_TEXTS_PER_COMBINATION
    min_per_label: int = 1
    seed: int = 0
    combinations: Combinations = "balanced"
    attempts: int = 4
    max_rejects: int | None = None
    lost_labels: Lost | None = None
    retry_rejects: bool = False
    concurrent: int = 16_384
    commit_rows: int = 16_384
    commit_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("attempts", "concurrent", "commit_rows"):
            if getattr(self, name) < 1:
                raise TextError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.lost_labels not in (None, *LOST):
            raise TextError(
                f"lost_labels is {self.lost_labels!r}: it must be one of {', '.join(LOST)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateSummary:
    """What a run did.

    ``requested`` = ``present`` + ``written`` + ``repeated`` + ``rejected`` + ``rejected_earlier``;
    ``repeated`` texts were still equal to another of their combination after all attempts;
    ``rejected_earlier`` were set aside by an earlier run, as repeated or for another reason, and
    not asked for again; ``rejects`` counts those that this run rejected by reason. ``combinations``
    are those that were asked for, ``balance`` is that of all texts in the store. ``reduced`` of the
    written texts are kept for fewer labels than they were asked for. ``encoded_earlier`` texts were
    in the store without a vector of this encoder; ``token_vectors`` of them got those of their
    tokens.
    """

    requested: int
    present: int
    written: int
    repeated: int
    rejected: int
    encoded_earlier: int
    combinations: int
    balance: Balance
    encoder_id: str
    reduced: int = 0
    rejected_earlier: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    token_vectors: int = 0
