"""``taistore generate-texts``: captions for combinations of labels, with their vectors."""

from dataclasses import asdict
from typing import Any

import click

from taistore_cli.opening import label_prompts, open_encoder, open_store, tidy
from taistore_cli.options import (
    common_options,
    device_option,
    encoder_option,
    max_rejects_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Texts in all; raising it later keeps those that are there.",
)
@click.option(
    "--writer",
    type=click.Choice(["template"]),
    default="template",
    show_default=True,
    help="What writes the captions.",
)
@click.option(
    "--max-labels",
    type=click.IntRange(min=1, max=8),
    default=3,
    show_default=True,
    help="Most labels in one caption; 1 to this many, each as often.",
)
@click.option(
    "--texts-per-combination",
    type=click.IntRange(min=1),
    metavar="N",
    help="Captions written for each combination of labels; default: chosen by the sampler.",
)
@click.option(
    "--min-per-label",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Every label occurs in at least this many texts.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@encoder_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    count: int,
    writer: str,
    max_labels: int,
    texts_per_combination: int | None,
    min_per_label: int,
    seed: int,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Write captions for sampled combinations of labels and embed them.

    Run it again to continue, to add more texts (a larger --count) or the vectors of another
    encoder for the texts that are there.

    \b
    Example:
      taistore generate-texts --count 10000
    """
    from taistore.texts.job import GenerateConfig, generate_texts

    store = open_store(store_uri)
    chosen: dict[str, Any] = {}
    if texts_per_combination is not None:
        chosen["texts_per_combination"] = texts_per_combination
    config = GenerateConfig(
        count=count,
        sizes=dict.fromkeys(range(1, min(max_labels, len(store.labels)) + 1), 1.0),
        min_per_label=min_per_label,
        seed=seed,
        writer=writer,
        max_rejects=max_rejects,
        **chosen,
    )
    encoder = open_encoder(store, encoder_spec, device=device, precision=precision, out=out)
    summary = generate_texts(store, encoder, config, progress=out.progress)
    label_prompts(store, encoder.info, device=device, precision=precision, out=out, encoder=encoder)
    tidy(store, out)
    balance = summary.balance
    return out.result(
        asdict(summary),
        f"{summary.requested:,} texts for {summary.combinations:,} combinations: "
        f"{summary.written:,} written, {summary.present:,} were there, "
        f"{summary.repeated:,} repeated, {summary.rejected:,} rejected\n"
        f"texts per label: {balance.minimum:,} to {balance.maximum:,}, mean {balance.mean:,.1f}, "
        f"deviation {balance.deviation:.1f}\n"
        "next: taistore train --task zsl",
    )
