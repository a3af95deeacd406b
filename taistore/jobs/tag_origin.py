"""All that decides the tags of a job, as a digest: where it is as before, so are the tags."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import taistore
from taistore.adapter.run_files.file_names import CALIBRATION
from taistore.images.sources.source import ImageSource, SourceImage
from taistore.store.object_folder import file_digest
from taistore.store.store import Store

_TABLES = ("labels", "combinations", "texts", "images")
_VECTORS = ("text_vectors", "image_vectors", "region_vectors")


def photos_digest(source: ImageSource) -> str:
    """Of the paths of the photos, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for item in source:
        if isinstance(item, SourceImage):
            digest.update(b"\0" + item.uri.encode())
    return digest.hexdigest()


def tag_digest(store: Store, encoder_id: str, settings: Mapping[str, Any]) -> str:
    """Of the settings, with the photos' digest among them, and the versions of the tables.

    Not of the runs: their rows change with every evaluation. What a table holds is the same at the
    same version of it; a version more, such as ``optimize`` makes, is another digest though nothing
    is new.
    """
    versions = store.versions(
        [*((kind, None) for kind in _TABLES), *((kind, encoder_id) for kind in _VECTORS)]
    )
    parts = {"taistore": taistore.__version__, "versions": versions, "settings": dict(settings)}
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def calibrated_digest(digest: str, folder: Path) -> str:
    """The same where the run in ``folder`` is not calibrated, which decides tags as well."""
    path = folder / CALIBRATION
    return f"{digest}-{file_digest(path)}" if path.is_file() else digest
