"""The synthetic images that a table of T2I-PAL is reproduced with, and in what they differ."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taistore.encoders.protocol import Encoder
from taistore.errors import SyntheticError
from taistore.progress import Note, Progress, no_progress
from taistore.store.store import Store
from taistore.synthetic.generate_images import generate_images
from taistore.synthetic.image_writer import PER_TEXT
from taistore.synthetic.image_writers import check_image_options, open_image_writer

_WHERE = frozenset({"base_url", "concurrency", "timeout", "batch"})
"""Options of writers that say where and how fast a model runs, and change no image."""

_PAPER = "6 of each caption by Stable Diffusion in the paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableImages:
    """Images by ``writer`` with its ``options``, as
    :func:`taistore.synthetic.image_writers.open_image_writer` takes them.

    Raises :class:`SyntheticError` where these do not go together, or a model behind a server is not
    named: another model's images belong into another store.
    """

    writer: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_image_options(self.writer, self.options)
        if self.writer == "openai" and not self.options.get("model"):
            raise SyntheticError(
                "writer=openai needs model= here, by which its images are found again"
            )

    def identity(self) -> str:
        """What tells these images from others; raises :class:`SyntheticError` where a manifest
        cannot be read."""
        told = {name: value for name, value in self.options.items() if name not in _WHERE}
        if "images" in told:
            path = Path(told["images"])
            try:
                with path.open("rb") as file:
                    told["images"] = hashlib.file_digest(file, "blake2b").hexdigest()
            except OSError as error:
                raise SyntheticError(
                    f"{path}: the manifest cannot be read ({error.strerror}): check the path"
                ) from error
        return json.dumps([self.writer, told], sort_keys=True, default=str)

    def write(
        self,
        store: Store,
        encoder: Encoder,
        *,
        regions: int,
        progress: Progress = no_progress,
        note: Note = lambda line: None,
    ) -> None:
        """Have the images made that the store lacks, with their vectors and regions.

        Raises what :func:`generate_images` and opening the writer raise.
        """
        with open_image_writer(self.writer, **self.options) as writer:
            for line in getattr(writer, "notes", ()):
                note(line)
            summary = generate_images(store, encoder, writer, regions=regions, progress=progress)
        note(
            f"{summary.written:,} synthetic images written, {summary.present:,} were there, "
            f"{summary.rejected:,} rejected"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; a file by its name alone."""
        options = {
            name: Path(value).name if name == "images" else value
            for name, value in self.options.items()
            if name not in _WHERE
        }
        return {"image_writer": self.writer, "image_writer_options": options}

    def __str__(self) -> str:
        if "images" in self.options:
            return f"the images of {Path(self.options['images']).name}"
        per_text = self.options.get("per_text", PER_TEXT)
        return f"{per_text} images a text by {self.options.get('model') or self.writer}"

    def deviations(self) -> list[str]:
        """In what these images are not the paper's, a line each."""
        return [f"synthetic images are {self} here, {_PAPER}, which names no version"]
