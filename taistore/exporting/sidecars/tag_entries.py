"""What a sidecar says of our tags: which run gave each, with which score, and whose keyword it is.

A keyword that was there is the person's and stays theirs; one that we added and that is gone was
taken away by a person, and is not added again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from taistore.exporting.sidecars.keyword_names import same_as

State = Literal["added", "present", "removed"]
"""``added``: the keyword is ours. ``present``: a person's was there. ``removed``: a person took it
away, so that it is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarTag:
    """A tag to write: ``keyword`` as :func:`keyword_names.keyword_of` makes it, never empty."""

    keyword: str
    label: str
    score: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tag of one run as the sidecar keeps it. ``under`` is the keyword above, or empty."""

    keyword: str
    label: str
    run: str
    score: str
    state: State
    under: str = ""


def entries_after(
    before: Sequence[Entry],
    tags: Iterable[SidecarTag],
    *,
    run: str,
    under: str,
    has: Callable[[str], bool],
) -> list[Entry]:
    """The entries once ``tags`` are all that ``run`` gives; those of other runs stay.

    ``has`` tells whether the sidecar has a keyword now.
    """
    kept = [entry for entry in before if entry.run != run]
    return kept + [
        Entry(
            keyword=tag.keyword,
            label=tag.label,
            run=run,
            score=tag.score,
            state=_state(tag.keyword, before, there=has(tag.keyword)),
            under=under,
        )
        for tag in tags
    ]


def _state(keyword: str, before: Sequence[Entry], *, there: bool) -> State:
    known = {entry.state for entry in before if same_as(entry.keyword) == same_as(keyword)}
    if not known:
        return "present" if there else "added"
    if not there:
        return "removed"
    return "added" if "added" in known else "present"
