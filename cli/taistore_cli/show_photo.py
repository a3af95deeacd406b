"""What ``taistore show PHOTO`` prints of a photo."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from taistore.printable import printable

if TYPE_CHECKING:
    from taistore.finding.photo_report import ExplainedTag, PhotoReport


def photo_lines(report: "PhotoReport") -> Iterator[str]:
    """Lines for people."""
    yield printable(report.uri) + ("  (gone)" if report.gone else "")
    if report.image_id:
        size = f", {report.width} x {report.height}" if report.width else ""
        split = f", split {report.split}" if report.split else ""
        yield f"  image {report.image_id}{size}{split}"
    yield from (f"  also {printable(uri)}" for uri in report.other_uris)
    if report.stored:
        yield f"  known: {_known(report)}"
    for row in report.rejects:
        yield printable(f"  set aside [{row['job']}]: {row['reason']}: {row['detail']}")
    if report.tags:
        yield f"tags by run {report.run_id} ({report.step}):"
        for tag in report.tags:
            yield from _tag(tag)
    if report.texts:
        yield "nearest texts:"
        yield from (f"  {one.cosine:6.3f}  {printable(one.name)}" for one in report.texts)
    if report.photos:
        yield "nearest photos:"
        yield from (f"  {one.cosine:6.3f}  {printable(one.name)}" for one in report.photos)
    yield from (printable(note) for note in report.notes)


def _known(report: "PhotoReport") -> str:
    parts = []
    if report.positives:
        parts.append("shows " + ", ".join(map(printable, report.positives)))
    if report.complete:
        parts.append("no other label" if report.positives else "no label")
    elif report.negatives:
        parts.append("does not show " + ", ".join(map(printable, report.negatives)))
    return "; ".join(parts) or "nothing"


def _tag(tag: "ExplainedTag") -> Iterator[str]:
    said = ["known"] if tag.known else []
    if tag.whole is not None:
        said.append(f"whole photo {tag.whole:.2f}")
    if tag.region is not None:
        at = tag.region
        said.append(
            f"best region {at.score:.2f} (row {at.row}, column {at.column} of {at.grid} x "
            f"{at.grid})"
        )
    yield f"  {tag.score:5.2f}  {printable(tag.name)}" + (f"  ({'; '.join(said)})" if said else "")
    for caption in tag.captions:
        yield f"           {caption.cosine:6.3f}  {printable(caption.name)}"
