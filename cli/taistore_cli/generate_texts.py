"""``taistore generate-texts``: captions for combinations of labels, with their vectors."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.model_options import ModelOptions, model_options
from taistore_cli.opening import open_project
from taistore_cli.options import (
    at_store,
    common_options,
    device_option,
    encoder_option,
    max_rejects_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.texts.audit.caption_audit import Lost
    from taistore.texts.combinations.dealing import Combinations
    from taistore.texts.generate_config import GenerateSummary


@click.command()
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="Texts in all by this writer with this model, instructions, temperature and seed; raising "
    "it later keeps those that are there.  [default: 250 a label, 5,000 to 10,000; where the store "
    "has under 200 images 6 a label, 250 to 10,000; of more than 2,000 labels 5 a label]",
)
@click.option(
    "--writer",
    metavar="NAME",
    default="template",
    help="What writes the captions: template (patterns), openai (a model behind an "
    "OpenAI-compatible server), vllm (a model in this process), or one that another package adds.",
)
@click.option(
    "--combinations",
    type=click.Choice(["balanced", "uniform", "plausible"]),
    default="balanced",
    help="Which labels meet in a caption: each label as often, each combination as often (the "
    "paper), or labels that go together in the labelled training images, else by their names.",
)
@click.option(
    "--max-labels",
    type=click.IntRange(min=1, max=8),
    default=3,
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
    help="Every label occurs in at least this many texts.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option(
    "--lost-labels",
    type=click.Choice(["reduce", "retry", "drop"]),
    help="For captions by a model: one that does not mention all its labels is kept for those that "
    "it mentions (reduce, the default), written again first (retry), or rejected (drop).",
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="Ask again for captions that an earlier run rejected.",
)
@click.option(
    "--tokens",
    is_flag=True,
    help="Also keep a vector of each token, which train --method tai-dpt and t2i-pal learn from.",
)
@model_options
@encoder_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    count: int | None,
    writer: str,
    combinations: "Combinations",
    max_labels: int,
    texts_per_combination: int | None,
    min_per_label: int,
    seed: int,
    lost_labels: "Lost | None",
    retry_rejects: bool,
    tokens: bool,
    model: ModelOptions,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Write captions for sampled combinations of labels and embed them.

    Run it again to continue, to add more texts (a larger --count) or the vectors of another
    encoder for the texts that are there. Captions by a language model are audited; the key of a
    server comes from the environment variable OPENAI_API_KEY alone.

    \b
    Example:
      taistore generate-texts --count 10000
      taistore generate-texts --writer openai --base-url http://127.0.0.1:8000/v1
      taistore generate-texts --writer vllm --model Qwen/Qwen2.5-7B-Instruct
    """
    options = model.given(writer)
    project = open_project(store_uri, out, device=device, precision=precision)
    summary = project.generate_texts(
        count,
        writer=writer,
        combinations=combinations,
        max_labels=max_labels,
        texts_per_combination=texts_per_combination,
        min_per_label=min_per_label,
        seed=seed,
        lost_labels=lost_labels,
        retry_rejects=retry_rejects,
        max_rejects=max_rejects,
        encoder=encoder_spec,
        tokens=tokens,
        **options,
    )
    balance = summary.balance
    return out.result(
        asdict(summary),
        f"{counted(summary.requested, 'text')} for {counted(summary.combinations, 'combination')}: "
        f"{summary.written:,} written, {summary.present:,} were there, "
        f"{summary.repeated:,} repeated, {summary.rejected:,} rejected"
        f"{_rejects(summary)}\n"
        f"{_tokens(summary)}"
        f"texts per label: {balance.minimum:,} to {balance.maximum:,}, mean {balance.mean:,.1f}, "
        f"deviation {balance.deviation:.1f}\n{_short(summary, min_per_label)}"
        f"next: {at_store('train --task zsl', store_uri)}",
    )


def _tokens(summary: "GenerateSummary") -> str:
    if not summary.token_vectors:
        return ""
    return f"token vectors of {counted(summary.token_vectors, 'text')} written\n"


def _short(summary: "GenerateSummary", min_per_label: int) -> str:
    if summary.balance.minimum >= min_per_label:
        return ""
    return (
        f"some labels have fewer than {min_per_label:,} texts: 'taistore texts audit' shows them\n"
    )


def _rejects(summary: "GenerateSummary") -> str:
    """What is missing and why, and what was kept for fewer labels; empty where all is well."""
    parts = []
    if summary.rejects:
        counts = sorted(summary.rejects.items(), key=lambda item: -item[1])
        parts.append(" (" + ", ".join(f"{count:,} {reason}" for reason, count in counts) + ")")
    if summary.rejected_earlier:
        parts.append(
            f"\n{summary.rejected_earlier:,} rejected earlier and not asked for again: "
            "--retry-rejects does"
        )
    if summary.reduced:
        parts.append(f"\n{summary.reduced:,} kept for fewer labels than they were asked for")
    if any(reason.startswith("unanswered:") for reason in summary.rejects):
        parts.append("\nwithout an answer: the same command asks for those again")
    return "".join(parts)
