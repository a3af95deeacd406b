"""Audits the captions of a store, or of a file before it is ingested, in one pass."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from taistore.encoders.protocol import Encoder
from taistore.errors import LabelError, TextError
from taistore.progress import Progress, no_progress
from taistore.store.store import Store
from taistore.texts.audit.audit_report import AuditReport, ReportBuilder, Seen
from taistore.texts.audit.caption_audit import Audit, FileAudit
from taistore.texts.ingest.caption_files import BadLine, count_lines, read_captions
from taistore.texts.language.token_lengths import length_check
from taistore.texts.request_ids import is_reduced
from taistore.texts.rows.text_rows import text_id

_SCAN_ROWS = 8192


def audit_store(
    store: Store, *, writer: str | None = None, examples: int = 3, progress: Progress = no_progress
) -> AuditReport:
    """Audit the texts of a store, or those of one writer, in one pass.

    Rejects are the texts that a job set aside, by that writer or by any. Raises
    :class:`TextError` where there is no text to audit.
    """
    report = ReportBuilder(store.labels, _limit(store))
    where = {"writer": writer} if writer is not None else None
    with progress("audit", total=store.count("texts"), unit="texts") as bar:
        for seen in _stored(store, where):
            report.add(seen)
            bar.advance(1)
    columns = ["reason", "detail", "writer"]
    for batch in store.scan("rejects", columns=columns, where=where):
        for row in batch.to_pylist():
            if row["writer"] is not None:
                report.reject(row["reason"], row["detail"], examples=examples)
    found = report.finish()
    if not found.total.texts and not found.rejects:
        whose = f"texts by {writer!r}" if writer is not None else "texts"
        writers = sorted(_writers(store)) if writer is not None else []
        there = f"; there are some by {', '.join(writers)}" if writers else ""
        raise TextError(
            f"{store.uri}: holds no {whose} to audit{there}: make some with 'taistore "
            "generate-texts', or give a caption file"
        )
    return found


def _writers(store: Store) -> set[str]:
    batches = store.scan("texts", columns=["writer"], batch_rows=65536)
    return {str(name) for batch in batches for name in batch.column(0).unique().to_pylist()}


def audit_file(
    store: Store,
    path: str | Path,
    *,
    encoder: Encoder | None = None,
    examples: int = 3,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit a caption file as ``ingest_texts(…, audit=True)`` does; ``store`` is not changed.

    Captions with labels of their own are held against them, the others against the labels that
    they mention; those that mention none are ``unlabelled``. An ``encoder`` also measures lengths.
    Raises as ``read_captions`` does.
    """
    files = FileAudit(store.labels, limit=length_check(encoder) if encoder is not None else None)
    report = ReportBuilder(
        store.labels, encoder.info.context_length if encoder is not None else None
    )
    lines = read_captions(path)
    with progress("audit", total=count_lines(path), unit="lines") as bar:
        for line in lines:
            bar.advance(1)
            if isinstance(line, BadLine):
                report.reject(line.reason, f"line {line.line}: {line.detail}", examples=examples)
                continue
            try:
                named = line.labels
                asked = (
                    files.audit.mentions(line.text, ())[1]
                    if named is None
                    else tuple(sorted({store.labels.find(name) for name in named}))
                )
            except LabelError as error:
                report.reject("unknown_label", f"line {line.line}: {error}", examples=examples)
                continue
            if not asked:
                report.unlabelled += 1
                continue
            verdict = files.check(line.text, asked)
            if verdict.reason:
                detail = f"line {line.line}: {verdict.detail}"
                report.reject(verdict.reason, detail, examples=examples)
                continue
            report.add(
                Seen(
                    text_id(verdict.text, store.labels.combination_id(asked)),
                    verdict.text,
                    asked,
                    verdict.label_ids,
                    verdict.others,
                    path_writer(path),
                    files.audit.tokens(verdict.text),
                    verdict.label_ids != asked,
                )
            )
    found = report.finish()
    if not found.total.texts and not found.rejects and not found.unlabelled:
        raise TextError(f"{path}: no captions in it: put one on each line")
    return found


def path_writer(path: str | Path) -> str:
    """How a file is called among the writers."""
    return Path(path).name


def _stored(store: Store, where: Mapping[str, str] | None) -> Iterator[Seen]:
    audit = Audit(store.labels)
    index = store.combination_index()
    columns = ["text_id", "combination_id", "text", "writer", "model", "tokens", "request_id"]
    for batch in store.scan("texts", columns=columns, where=where, batch_rows=_SCAN_ROWS):
        counts, flat = index.positives(batch.column("combination_id").to_numpy())
        ends = np.cumsum(counts).tolist()
        label_ids = flat.tolist()
        for row, end, count in zip(batch.to_pylist(), ends, counts.tolist(), strict=True):
            asked = tuple(label_ids[end - count : end])
            mentioned, others = audit.mentions(row["text"], asked)
            writer = f"{row['writer']} {row['model'] or ''}".strip()
            yield Seen(
                row["text_id"],
                row["text"],
                asked,
                mentioned,
                others,
                writer,
                row["tokens"],
                is_reduced(row["request_id"], row["combination_id"]),
            )


def _limit(store: Store) -> int | None:
    """The smallest context of the store's encoders: what every one of them sees whole."""
    known = [info.context_length for info in store.encoders() if info.context_length is not None]
    return min(known, default=None)
