"""What changes between two sources of tags, each a run of a store or a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from taistore.exporting.tagged_photos import TaggedPhotos, read_tagged_photos
from taistore.progress import Note, Progress, stoppable, terminal_progress
from taistore.scoring.tags.tag_file import SUFFIXES

if TYPE_CHECKING:
    from taistore.exporting.differences.tag_differences import TagDifferences
    from taistore.project import Project


def is_tag_file(source: str | Path) -> bool:
    """Whether this names a file of tags, there or not, rather than a run."""
    return Path(source).suffix.lower() in SUFFIXES or Path(source).exists()


class DifferenceJob:
    """The two sources in turn; the store at ``path`` is opened where one of them is a run."""

    def __init__(
        self,
        path: str | Path,
        *,
        top_k: int | None,
        threshold: float | None,
        device: str,
        progress: Progress | None,
        note: Note | None,
    ) -> None:
        self._path = path
        self._top_k = top_k
        self._threshold = threshold
        self._device = device
        self._progress = stoppable(progress or terminal_progress)
        self._note = note
        self._project: Project | None = None

    def run(self, before: str | Path, after: str | Path, *, min_change: float) -> "TagDifferences":
        """As :func:`taistore.exporting.differences.tag_differences.tag_differences`."""
        old, new = self._tagged(before), self._tagged(after)
        # Polars is loaded once there is something to compare.
        from taistore.exporting.differences.tag_differences import tag_differences

        return tag_differences(old, new, min_change=min_change)

    def _tagged(self, source: str | Path) -> TaggedPhotos:
        if is_tag_file(source):
            return read_tagged_photos(source, threshold=self._threshold, top_k=self._top_k)
        run = self._opened().run(str(source))
        tags = run.tags(threshold=self._threshold, top_k=self._top_k)
        return TaggedPhotos(tags.with_untagged(), run=run.run_id)

    def _opened(self) -> "Project":
        if self._project is None:
            from taistore.project import Project

            self._project = Project.open(
                self._path, device=self._device, progress=self._progress, note=self._note
            )
        return self._project
