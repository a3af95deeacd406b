"""The job ``ingest-texts``: own captions, labelled by the file or by the nouns they hold."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.errors import LabelError, TextError
from taistore.labels import LabelSet
from taistore.printable import counted
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.store.rejects import Reject, line_of
from taistore.store.store import Store
from taistore.store.writes.collector import loaded_set_aside
from taistore.texts.audit.caption_audit import FileAudit
from taistore.texts.ingest.caption_files import BadLine, Caption, Line, count_lines, read_captions
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.language.token_lengths import TOO_LONG, text_lengths, text_limit
from taistore.texts.rows.text_rows import TextRow, encode_missing_texts, text_id, write_texts

JOB = "ingest-texts"
WRITER = "captions"
UNKNOWN_LABEL = "unknown_label"


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestTextsSummary:
    """What became of ``read`` lines: written, present (or twice there), unlabelled or rejected.

    ``unlabelled`` captions name no label and are passed over, not rejected. ``ambiguous`` counts
    captions with a name that several labels share, which gives no label. ``labels_found`` of
    ``labels`` occur in the captions that were written or present.
    """

    read: int
    written: int
    present: int
    unlabelled: int
    rejected: int
    ambiguous: int
    labels_found: int
    labels: int
    encoded_earlier: int
    encoder_id: str


@loaded_set_aside()
def ingest_texts(
    store: Store,
    encoder: Encoder,
    path: str | Path,
    *,
    batch_texts: int = 2048,
    max_rejects: int | None = None,
    audit: bool = False,
    progress: Progress = no_progress,
) -> IngestTextsSummary:
    """Store the captions of a file with their vectors; running it again adds nothing twice.

    ``audit`` treats them as the answers of a language model: what is around a caption is taken
    off, refusals, near-duplicates and the like are rejected, and stated labels count where the
    caption mentions them.

    Formats as :func:`taistore.texts.ingest.caption_files.read_captions` reads them. A line that is
    malformed, too long for the encoder or names a label outside the set goes to ``rejects`` with
    file and line. Raises :class:`TextError` where no caption could be used or
    ``max_rejects`` is exceeded; what was stored before is kept.
    """
    path = Path(path)
    text_limit(encoder)
    lines = read_captions(path)
    earlier = encode_missing_texts(store, encoder, progress=progress)
    job = _Job(store, encoder, path, max_rejects, audit=audit)
    with progress("reading captions", total=count_lines(path), unit="lines") as bar:
        while batch := list(islice(lines, batch_texts)):
            job.run(batch, bar)
    job.check_some_usable()
    return IngestTextsSummary(
        read=job.read,
        written=job.written,
        present=job.present,
        unlabelled=job.unlabelled,
        rejected=job.rejected,
        ambiguous=job.ambiguous,
        labels_found=int(job.found.sum()),
        labels=len(store.labels),
        encoded_earlier=earlier,
        encoder_id=encoder.info.encoder_id,
    )


class _Job:
    """Turns lines into rows, a batch at a time, and counts what became of them."""

    def __init__(
        self, store: Store, encoder: Encoder, path: Path, max_rejects: int | None, *, audit: bool
    ) -> None:
        self._store, self._encoder, self._path = store, encoder, path
        self._max_rejects = max_rejects
        self._labels: LabelSet = store.labels
        self._filter = NounFilter(self._labels)
        self._audit = FileAudit(self._labels) if audit else None
        self.found: NDArray[np.bool_] = np.zeros(len(self._labels), dtype=np.bool_)
        self.read = self.written = self.present = 0
        self.unlabelled = self.rejected = self.ambiguous = 0
        self.last_reject = ""

    def run(self, lines: list[Line], bar: ProgressBar) -> None:
        """Label, check, encode and append one batch of lines."""
        self.read += len(lines)
        bad = [line for line in lines if isinstance(line, BadLine)]
        labelled = list(self._labelled(lines, bad))
        lengths = text_lengths(self._encoder, [caption.text for caption, _ in labelled])
        rows: list[TextRow] = []
        for (caption, label_ids), length in zip(labelled, lengths, strict=True):
            if length.fits:
                rows.append(self._row(caption.text, label_ids, length.tokens))
            else:
                bad.append(BadLine(caption.line, TOO_LONG, length.detail))
        new = set(self._store.missing("texts", [row.text_id for row in rows])) if rows else set()
        fresh = list({row.text_id: row for row in rows if row.text_id in new}.values())
        for row in rows:
            self.found[list(row.label_ids)] = True
        self.written += write_texts(self._store, self._encoder, fresh)
        self.present += len(rows) - len(fresh)
        bar.advance(len(lines))
        self._clear_rejects(lines, bad)
        self._reject(bad)

    def _labelled(
        self, lines: Iterable[Line], bad: list[BadLine]
    ) -> Iterator[tuple[Caption, tuple[int, ...]]]:
        for line in lines:
            if isinstance(line, BadLine):
                continue
            try:
                label_ids = self._label_ids(line)
            except LabelError as error:
                bad.append(BadLine(line.line, UNKNOWN_LABEL, str(error)))
                continue
            if not label_ids:
                self.unlabelled += 1
            elif self._audit is None:
                yield line, label_ids
            elif (verdict := self._audit.check(line.text, label_ids)).usable:
                yield replace(line, text=verdict.text), verdict.label_ids
            else:
                bad.append(BadLine(line.line, verdict.reason, verdict.detail))

    def _label_ids(self, caption: Caption) -> tuple[int, ...]:
        if caption.labels is not None:
            return tuple(sorted({self._labels.find(name) for name in caption.labels}))
        mentions = self._filter.find(caption.text, everyday=True)
        self.ambiguous += bool(mentions.ambiguous)
        return mentions.label_ids

    def _row(self, text: str, label_ids: tuple[int, ...], tokens: int) -> TextRow:
        combination_id = self._labels.combination_id(label_ids)
        return TextRow(
            text_id=text_id(text, combination_id),
            combination_id=combination_id,
            label_ids=label_ids,
            text=text,
            writer=WRITER,
            model=None,
            instruction=None,
            turn=0,
            seed=None,
            tokens=tokens,
        )

    def _clear_rejects(self, lines: Iterable[Line], bad: Iterable[BadLine]) -> None:
        """Forget what an earlier run held against lines that are good now."""
        still = {line.line for line in bad}
        good = [line_of(self._path, line.line) for line in lines if line.line not in still]
        if good:
            self._store.clear_rejects(JOB, good)

    def _reject(self, bad: list[BadLine]) -> None:
        if not bad:
            return
        rows = [
            Reject(line_of(self._path, line.line), line.reason, line.detail, WRITER) for line in bad
        ]
        self._store.reject(JOB, rows)
        self.rejected += len(bad)
        self.last_reject = f"line {bad[-1].line}: {bad[-1].detail}"
        if self._max_rejects is not None and self.rejected > self._max_rejects:
            raise TextError(
                f"{self._path}: {self.rejected:,} lines rejected, more than the "
                f"{self._max_rejects:,} allowed (last: {self.last_reject}): 'taistore show "
                "--rejects' lists them; good captions are kept"
            )

    def check_some_usable(self) -> None:
        """Raise where the whole file gave nothing."""
        if self.written or self.present:
            return
        if not self.read:
            raise TextError(f"{self._path}: no captions in it: put one on each line")
        if self.unlabelled:
            raise TextError(
                f"{self._path}: none of {counted(self.read, 'caption')} names a label of the "
                "store: check that they fit, or give the labels synonyms"
            )
        raise TextError(
            f"{self._path}: none of {counted(self.read, 'line')} is usable "
            f"(last: {self.last_reject})"
        )
