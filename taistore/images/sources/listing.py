"""What all files that list images share: their faults in one line, and the paths that they give."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.row_labels import RowError
from taistore.printable import printable


@contextlib.contextmanager
def reading(path: str, what: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a :class:`ManifestError` that names it.

    ``what`` is what messages call the file, such as "manifest".
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ManifestError(f"{_place(path, error)}: no such {what}: check the path") from None
    except IsADirectoryError as error:
        raise ManifestError(f"{_place(path, error)}: a directory, not a {what}") from None
    except PermissionError as error:
        place = _place(path, error)
        raise ManifestError(f"{place}: no permission to read it: check its mode") from None
    except RowError as error:
        raise ManifestError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        # Arrow's own errors are ValueErrors and OSErrors.
        detail = printable(str(error))[:200]
        raise ManifestError(f"{path}: cannot be read: {detail}") from None


def _place(path: str, error: OSError) -> str:
    return printable(os.fsdecode(error.filename)) if error.filename else path


def image_path(folder: str, image: object, *, field: str = "image") -> str:
    """The absolute path of an image that a row names in ``field``; raises :class:`RowError`."""
    if not isinstance(image, str) or not image.strip():
        raise RowError(f"{field} is {image!r:.80}: it must be a path", reason="malformed")
    if "://" in image:
        raise RowError(
            f"{image!r:.80} is a URL: download it and name the file", reason="unsupported"
        )
    if not is_text(image):
        raise RowError(f"{field} {image!r:.80} is not UTF-8 text", reason="bad_name")
    return os.path.normpath(Path(folder, image))


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def photo_folder(
    annotations: str, candidates: Sequence[Path], names: Iterable[str], *, given: bool
) -> str:
    """The first folder of ``candidates`` that has any of the photos ``names``, relative to it.

    Where none has, the first that exists: then every photo is missing, or only the first ones.
    ``given``: the user named the folder, and the candidates lie in it. Raises
    :class:`ImageError` when there is no such folder.
    """
    folders = [folder for folder in candidates if folder.is_dir()]
    for name in names:
        for folder in folders:
            # Path.is_file() raises on a name that is too long to be a path.
            if os.path.isfile(folder / name):  # noqa: PTH113
                return os.path.realpath(folder)
    if folders:
        return os.path.realpath(folders[0])
    if given:
        raise ImageError(f"{candidates[0]}: no such folder: check photos=", reason="missing")
    tried = ", ".join(map(str, candidates))
    raise ImageError(
        f"{annotations}: its photos are not in {tried}: name their folder with photos=",
        reason="missing",
    )
