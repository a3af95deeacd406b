"""The texts that a table's trainings learn from: written by a writer, or the captions of a file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.progress import Note, Progress, no_progress
from taistore.store.store import Store
from taistore.texts.combinations.dealing import Combinations
from taistore.texts.generate import JOB as WRITING
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.ingest.ingest_texts import JOB as READING
from taistore.texts.ingest.ingest_texts import ingest_texts
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.writers import check_options, open_writer

COUNT = 10_000
WRITER = "template"
COMBINATIONS: Combinations = "uniform"
"""As the paper has it: 10,000 texts, of labels that are drawn at random."""

JOBS = (WRITING, READING)
"""Jobs whose rejects are texts."""

_WHERE = frozenset({"base_url", "concurrency", "timeout", "tensor_parallel", "gpu_memory"})
"""Options of writers that say where a model runs, and change no text."""

_PAPER = "by Vicuna-33b-v1.3 in the paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableTexts:
    """``count`` texts by ``writer`` for ``combinations``, or the ``captions`` of a file.

    ``options`` are the writer's, as :func:`taistore.texts.writers.open_writer` takes them. None is
    the paper's 10,000, templates and uniform combinations; with ``captions`` the file decides. A
    model behind a server must be named: another model's captions belong into another store. Raises
    :class:`TextError` where these do not go together, or the file is not there.
    """

    count: int | None = None
    writer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    combinations: Combinations | None = None
    captions: Path | None = None

    def __post_init__(self) -> None:
        if self.captions is not None:
            for name in ("count", "writer", "combinations"):
                if getattr(self, name) is not None:
                    raise TextError(
                        f"{name}= has no meaning with captions=, whose file decides: leave one out"
                    )
            if not self.captions.is_file():
                raise TextError(f"{self.captions}: no such file: give captions= a file of captions")
            return
        for name, value in (
            ("count", COUNT),
            ("writer", WRITER),
            ("combinations", COMBINATIONS),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        check_options(self._writer, self.options)
        if self._writer == "openai" and not self.options.get("model"):
            raise TextError(
                "writer=openai needs model= here, by which its captions are found again"
            )

    @property
    def _writer(self) -> str:
        return self.writer or WRITER

    def identity(self) -> str:
        """What tells these texts from others: equal texts have equal ones, wherever they come from.

        Raises :class:`TextError` where a file of instructions cannot be read.
        """
        if self.captions is not None:
            with self.captions.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()
            return f"captions {self.captions.suffix.lower()} {digest}"
        told = {name: value for name, value in self.options.items() if name not in _WHERE}
        if "instructions" in told:
            told["instructions"] = load_instructions(str(told["instructions"])).digest
        parts = [self.writer, told, self.combinations, self.count]
        return json.dumps(parts, sort_keys=True, default=str)

    def write(
        self,
        store: Store,
        encoder: Encoder,
        *,
        progress: Progress = no_progress,
        note: Note = lambda line: None,
    ) -> None:
        """Put the texts that the store lacks into it, with their vectors.

        Raises what :func:`generate_texts`, :func:`ingest_texts` and opening the writer raise.
        """
        if self.captions is not None:
            ingest_texts(store, encoder, self.captions, progress=progress)
            return
        config = GenerateConfig(
            count=self.count or COUNT, combinations=self.combinations or COMBINATIONS
        )
        with open_writer(self._writer, store.labels, **self.options) as writer:
            for line in getattr(writer, "notes", ()):
                note(line)
            generate_texts(store, encoder, config, writer=writer, progress=progress)

    def to_json(self) -> dict[str, Any]:
        """Plain values; a file by its name alone."""
        return {
            "texts": self.count,
            "writer": self.writer,
            "writer_options": {k: v for k, v in self.options.items() if k not in _WHERE},
            "combinations": self.combinations,
            "captions": self.captions.name if self.captions is not None else None,
        }

    def __str__(self) -> str:
        if self.captions is not None:
            return f"the captions of {self.captions.name}"
        by = f"{self.writer} {self.options.get('model', '')}".strip()
        return f"{self.count:,} texts by {by}, combinations {self.combinations}"

    def deviations(self) -> list[str]:
        """In what these texts are not the paper's, a line each."""
        if self.captions is not None:
            return [f"texts are the captions of {self.captions.name} here, {_PAPER}"]
        model = str(self.options.get("model", ""))
        found = []
        if self.writer == WRITER:
            found.append(
                f"texts are written from templates here, {_PAPER}, whose Fig. 5b puts templates "
                "somewhat lower"
            )
        elif "vicuna-33b" not in model.lower():
            by = model or f"the writer {self.writer}"
            found.append(
                f"texts are by {by} here, {_PAPER}, whose Fig. 5c puts smaller models lower"
            )
        if self.combinations != COMBINATIONS:
            found.append(
                f"combinations of labels are {self.combinations} here, drawn uniformly in the paper"
            )
        instructions = self.options.get("instructions", "paper")
        if instructions != "paper":
            found.append(
                f"the model is told {Path(str(instructions)).name}, not the paper's instructions"
            )
        return found
