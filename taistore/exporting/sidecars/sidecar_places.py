"""Where the sidecar of a photo is, or is to be.

digiKam, darktable and exiftool's users write ``photo.jpg.xmp``; Lightroom, Bridge and Capture One
write ``photo.xmp``. Where the latter is there for this photo alone it is merged into, or there
would be two sidecars that contradict each other.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from taistore.exporting.set_aside import SetAsideError
from taistore.store.places import is_remote

Naming = Literal["auto", "full", "stem"]
"""``full``: ``photo.jpg.xmp``. ``stem``: ``photo.xmp``. ``auto``: full, unless ``photo.xmp`` is
there and is that of this photo."""

NO_PHOTOS = frozenset((".xmp", ".json", ".txt", ".csv", ".html", ".pp3", ".dop", ".aae", ".thm"))
"""What may share a photo's name and has no sidecar of its own."""


class SidecarPlaces:
    """The sidecars of photos with one ``suffix``: beside them, or under ``out``.

    Under ``out`` folders are as below ``root``. Photos of one folder should follow one another.
    """

    def __init__(
        self,
        suffix: str,
        *,
        naming: Naming = "full",
        out: Path | None = None,
        root: str = "",
        must_exist: bool = True,
    ) -> None:
        self._suffix = suffix
        self._naming = naming
        self._out = out
        self._root = root
        self._must_exist = must_exist
        self._seen: tuple[Path, Path] | None = None
        self._names: dict[str, str] = {}
        self._stems: Counter[str] = Counter()

    def of(self, uri: str) -> Path:
        """The sidecar of a photo; raises :class:`SetAsideError` where there can be none."""
        if is_remote(uri):
            raise SetAsideError("is not on this machine's disk")
        # Not resolved: a photo that is a link has its sidecar beside the link.
        photo = Path(os.path.abspath(uri))  # noqa: PTH100
        if self._must_exist and not photo.is_file():
            raise SetAsideError("the photo is gone")
        folder = photo.parent if self._out is None else self._below(photo.parent)
        self._look(photo.parent, folder)
        return folder / self._name(photo)

    def _below(self, folder: Path) -> Path:
        """A photo's folder as it is under ``out``; no link there may lead out of it."""
        assert self._out is not None
        try:
            place = self._out / folder.relative_to(self._root)
        except ValueError:
            raise SetAsideError(f"is not below {self._root}") from None
        if not place.resolve().is_relative_to(self._out.resolve()):
            raise SetAsideError(f"a link leads from {self._out} to elsewhere")
        return place

    def _look(self, photos: Path, sidecars: Path) -> None:
        if self._seen == (photos, sidecars):
            return
        self._seen = (photos, sidecars)
        # Suffixes of some programs are in capitals; all else counts as it is.
        self._names = {_folded(name, self._suffix): name for name in _listed(sidecars)}
        names = _listed(photos)
        self._stems = Counter(
            stem for stem, suffix in map(os.path.splitext, names) if suffix.lower() not in NO_PHOTOS
        )

    def _name(self, photo: Path) -> str:
        full, stem = photo.name + self._suffix, photo.stem + self._suffix
        shared = self._stems[photo.stem] > 1
        if self._naming == "stem":
            if shared:
                raise SetAsideError(f"another photo has the name {photo.stem} as well")
            return self._names.get(stem, stem)
        is_lightrooms = full not in self._names and stem in self._names and not shared
        wanted = stem if self._naming == "auto" and is_lightrooms else full
        return self._names.get(wanted, wanted)


def sidecars_below(folder: Path, suffix: str) -> Iterator[Path]:
    """Every file with this suffix in a folder and those below, without following links."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(suffix):
                yield Path(path, name)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone
    except OSError:
        return []


def _folded(name: str, suffix: str) -> str:
    cut = len(name) - len(suffix)
    return name[:cut] + suffix if name[cut:].lower() == suffix else name
