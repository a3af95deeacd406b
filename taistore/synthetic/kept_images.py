"""Pictures that are kept as files, for people and for other tools."""

import io
import os
from pathlib import Path

from PIL import Image

from taistore.errors import SyntheticError

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


def keep_image(folder: Path, synthetic_id: str, image: bytes | Image.Image) -> Path:
    """Write a picture into a folder, whole or not at all, as ``<synthetic_id>.png``.

    The bytes of a file stay as they are. Raises :class:`SyntheticError` where it cannot be written.
    """
    if isinstance(image, bytes):
        data, suffix = image, _suffix(image)
    else:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        data, suffix = buffer.getvalue(), ".png"
    path = folder / f"{synthetic_id}{suffix}"
    unfinished = folder / f".{synthetic_id}.{os.getpid()}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        raise SyntheticError(
            f"{path}: the picture cannot be kept ({error.strerror}): give a folder that can be "
            "written, or leave keep= out"
        ) from error
    return path


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as opened:
        return _SUFFIXES.get(opened.format or "", f".{(opened.format or 'bin').lower()}")
