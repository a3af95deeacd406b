"""``taistore synthetic``: what the images that were made of texts are worth."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, encoder_option, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.synthetic.image_audit import ImageAudit, LabelFigures

LABELS_SHOWN = 10


@click.group()
def command() -> None:
    """Look at synthetic images.

    \b
    Example:
      taistore synthetic audit
    """


@command.command()
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Set images aside that score less.  [default: none, those below 0.5 are counted]",
)
@encoder_option
@store_option
@common_options
def audit(
    *, min_score: float | None, encoder_spec: str | None, store_uri: str, out: Output
) -> dict[str, Any]:
    """Hold each synthetic image against its caption.

    An image's score is the share of captions of quite other labels that fit it less well than its
    own: 1 is best, 0.5 chance. What --min-score sets aside is listed by show --rejects, and made
    again by generate-images --retry-rejects.

    \b
    Example:
      taistore synthetic audit
      taistore synthetic audit --min-score 0.8
    """
    project = open_project(store_uri, out)
    found = project.audit_images(
        min_score=0.5 if min_score is None else min_score,
        set_aside=min_score is not None,
        encoder=encoder_spec,
    )
    value = {
        **asdict(found),
        "labels": [{"key": key, "name": name, **asdict(f)} for key, name, f in found.labels],
    }
    return out.result(value, "\n".join(_lines(found)))


def _lines(found: "ImageAudit") -> list[str]:
    writers = ", ".join(f"{name} {count:,}" for name, count in found.writers.items())
    lines = [f"{counted(found.images, 'image')} of {counted(found.texts, 'text')} ({writers})"]
    if found.scores:
        quantiles = ", ".join(f"{value:.2f} at {q} %" for q, value in found.scores.items())
        lines.append(f"score: {quantiles}")
    if found.scored < found.images:
        lines.append(
            f"{found.images - found.scored:,} not scored: too few captions of other labels"
        )
    aside = f", {found.set_aside:,} set aside" if found.set_aside else ""
    lines.append(f"{found.low:,} score less than {found.min_score:g}{aside}")
    if found.repeated or found.alike:
        lines.append(
            f"{found.repeated:,} are the same as another, {found.alike:,} more nearly so "
            "(of one combination)"
        )
    if found.rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.rejects.items())
        lines.append(f"rejected: {reasons}")
    scored = [(name, figures) for _, name, figures in found.labels if figures.score is not None]
    worst = sorted(scored, key=lambda entry: entry[1].score or 0.0)[:LABELS_SHOWN]
    if worst:
        lines += ["", f"labels shown least, of {len(scored):,} with images"]
        lines += [_row(name, figures) for name, figures in worst]
    bare = sum(figures.images == 0 for *_, figures in found.labels)
    if bare:
        lines.append(f"{counted(bare, 'label has', 'labels have')} no image")
    return lines


def _row(name: str, figures: "LabelFigures") -> str:
    counts = f"{figures.images:>9,} images, score {figures.score:.2f}, low {figures.low:,}"
    return f"{name[:28]:<28} {counts}"
