"""A source of images as a package of its own: each photo's labels lie beside it, one a line."""

from pathlib import Path

from taistore.errors import LabelError
from taistore.images.sources.source import Annotation, SourceImage
from taistore.store.rejects import Reject


class SidecarSource:
    """All ``*.png`` of a folder, each with a ``*.txt`` of its name; labels are complete."""

    ignored = 0
    notes = ()

    def __init__(self, path, labels):
        self._folder = Path(path).resolve()
        self._labels = labels

    @property
    def name(self):
        """The folder."""
        return str(self._folder)

    def count(self):
        """Number of photos."""
        return sum(1 for _ in self._folder.glob("*.png"))

    def __iter__(self):
        for photo in sorted(self._folder.glob("*.png")):
            names = photo.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
            try:
                shown = tuple(sorted(self._labels.find(name) for name in names))
            except LabelError as error:
                yield Reject(uri=str(photo), reason="unknown_label", detail=str(error))
                continue
            annotation = Annotation(positives=shown, complete=True)
            yield SourceImage(uri=str(photo), annotation=annotation, split="test")
