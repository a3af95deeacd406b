"""``taistore texts``: what the captions of a store are worth."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    encoder_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.texts.audit.audit_report import AuditReport, Figures

LABELS_SHOWN = 10


@click.group()
def command() -> None:
    """Look at captions.

    \b
    Example:
      taistore texts audit
    """


@command.command()
@click.argument("captions", type=click.Path(path_type=Path), required=False)
@click.option("--writer", metavar="NAME", help="Only texts by this writer, such as openai.")
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=3,
    help="Rejected captions shown for each reason.",
)
@encoder_option
@store_option
@device_option
@precision_option
@common_options
def audit(
    *,
    captions: Path | None,
    writer: str | None,
    examples: int,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    out: Output,
) -> dict[str, Any]:
    """Audit the texts of the store, or the file CAPTIONS before it is ingested.

    Coverage is how often a caption mentions a label that it is kept for; hidden positives are
    other labels that it mentions. Distinct-1 and -2 are the share of different words and word
    pairs in 50 captions. With a file, --encoder also measures lengths; the store is not changed.

    \b
    Example:
      taistore texts audit --writer openai
      taistore texts audit captions.jsonl
    """
    if captions is not None and writer is not None:
        raise click.UsageError("--writer selects texts of the store: leave it out with a file")
    if captions is None and encoder_spec is not None:
        raise click.UsageError("--encoder measures a file's captions: name the file, or leave it")
    project = open_project(store_uri, out, device=device, precision=precision)
    report = project.audit_texts(captions, writer=writer, encoder=encoder_spec, examples=examples)
    return out.result(_json(report), "\n".join(_lines(report)))


def _json(report: "AuditReport") -> dict[str, Any]:
    return {
        **asdict(report.total),
        "unlabelled": report.unlabelled,
        "writers": {name: asdict(figures) for name, figures in report.writers.items()},
        "labels": [{"key": key, "name": name, **asdict(f)} for key, name, f in report.labels],
        "rejects": dict(report.rejects),
        "examples": {reason: list(found) for reason, found in report.examples.items()},
    }


def _lines(report: "AuditReport") -> list[str]:
    total = report.total
    lines = [_header()]
    lines += [_row(name, figures) for name, figures in report.writers.items()]
    if len(report.writers) > 1:
        lines.append(_row("all", total))
    if total.reduced:
        lines.append(
            f"{counted(total.reduced, 'caption is', 'captions are')} kept for fewer labels than "
            "asked for"
        )
    if report.unlabelled:
        lines.append(
            f"{counted(report.unlabelled, 'caption mentions', 'captions mention')} no label of the "
            "store"
        )
    if total.hidden:
        lines.append(
            f"{counted(total.hidden_texts, 'caption mentions', 'captions mention')} other labels "
            f"too: {_counts(total.hidden)}"
        )
    written = [(name, figures) for _, name, figures in report.labels if figures.texts]
    worst = sorted(written, key=lambda entry: entry[1].coverage)[:LABELS_SHOWN]
    if worst:
        lines += ["", f"labels mentioned least, of {len(written):,} with texts", _header()]
        lines += [_row(name, figures) for name, figures in worst]
    if len(written) < len(report.labels):
        lines.append(
            f"{counted(len(report.labels) - len(written), 'label has', 'labels have')} no text"
        )
    if report.rejects:
        lines += ["", f"rejected: {_counts(report.rejects)}"]
        for reason, found in report.examples.items():
            lines += [f"  {reason}: {detail}" for detail in found]
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _header() -> str:
    return (
        f"{'':<28} {'texts':>9} {'coverage':>8} {'complete':>8} {'dist-1':>6} {'dist-2':>6} "
        f"{'tokens':>6} {'p95':>4} {'over':>5}  hidden positives"
    )


def _row(name: str, figures: "Figures") -> str:
    mean = "-" if figures.tokens_mean is None else f"{figures.tokens_mean:.1f}"
    p95 = "-" if figures.tokens_p95 is None else str(figures.tokens_p95)
    return (
        f"{name[:28]:<28} {figures.texts:>9,} {figures.coverage:>8.1%} {figures.complete:>8.1%} "
        f"{figures.distinct_1:>6.2f} {figures.distinct_2:>6.2f} {mean:>6} {p95:>4} "
        f"{figures.over_limit:>5,}  {_counts(figures.hidden)}"
    ).rstrip()
