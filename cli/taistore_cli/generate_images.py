"""``taistore generate-images``: images of the store's texts, as vectors of their own kind."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore.errors import SyntheticError
from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import (
    at_store,
    batch_size_option,
    common_options,
    device_option,
    encoder_option,
    max_rejects_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.synthetic.generate_images import GenerateImagesSummary

_WRITER_OPTIONS = (
    click.option(
        "--per-text",
        type=click.IntRange(min=1, max=1000),
        metavar="N",
        help="diffusers, openai: images of each text; default 6. Raising it keeps those there.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="diffusers: a hub name or folder; openai: a model of the server, default its own.",
    ),
    click.option(
        "--images",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help='folder: a .jsonl manifest of {"text": caption, "image": path}.',
    ),
    click.option(
        "--batch", type=click.IntRange(min=1), help="diffusers: images drawn at once; default 4."
    ),
    click.option(
        "--steps",
        type=click.IntRange(min=1),
        help="diffusers: denoising steps.  [default: the model's own]",
    ),
    click.option(
        "--guidance",
        type=click.FloatRange(min=0),
        help="diffusers: weight of the caption.  [default: the model's own]",
    ),
    click.option(
        "--size",
        type=click.IntRange(min=8),
        metavar="PIXELS",
        help="diffusers, openai: side of an image; default: the model's own.",
    ),
    click.option("--base-url", metavar="URL", help="openai: where the server's API begins."),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1, max=1024),
        help="openai: requests under way at once; default 4.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="openai: for one answer; default 120.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        help="diffusers, openai: what all seeds are drawn from; default 0.",
    ),
)


def _writer_options(command: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    for option in reversed(_WRITER_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option(
    "--writer",
    metavar="NAME",
    default="diffusers",
    help="What makes the images: diffusers (a text-to-image model in this process), openai (a "
    "server that speaks /v1/images/generations), folder (images made elsewhere), or one that "
    "another package adds.",
)
@_writer_options
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    metavar="G",
    help="Also store the vectors of a G x G grid of regions; 7 suits every encoder, 0: none.  "
    "[default: as the store has them, else none]",
)
@click.option("--text-writer", metavar="NAME", help="Only texts by this writer, such as captions.")
@click.option(
    "--max-texts",
    type=click.IntRange(min=1),
    metavar="N",
    help="A sample of N texts; raising it keeps the images that are there.  [default: all]",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also keep the images themselves, as DIR/<text>-<number>.png.",
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="Ask again for images that an earlier run or an audit set aside.",
)
@batch_size_option(32)
@encoder_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    writer: str,
    regions: int | None,
    text_writer: str | None,
    max_texts: int | None,
    keep: Path | None,
    retry_rejects: bool,
    batch_size: int,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
    **options: Any,
) -> dict[str, Any]:
    """Have images made of the store's texts and embed them: synthetic images.

    They are kept apart from photos: trained on by train --learn-from texts+synthetic and train
    --method t2i-pal, never in a split, never tagged. Run it again to continue. The key of a server
    comes from the environment variable OPENAI_API_KEY alone.

    \b
    Example:
      taistore generate-images --model stabilityai/sd-turbo --steps 1 --guidance 0 --regions 7
      taistore generate-images --writer openai --base-url http://127.0.0.1:8000/v1 --per-text 2
      taistore generate-images --writer folder --images made.jsonl --keep pictures/
    """
    given = _given(writer, {name: value for name, value in options.items() if value is not None})
    project = open_project(store_uri, out, device=device, precision=precision)
    summary = project.generate_images(
        writer=writer,
        regions=regions,
        text_writer=text_writer,
        max_texts=max_texts,
        keep=keep,
        retry_rejects=retry_rejects,
        max_rejects=max_rejects,
        batch_size=batch_size,
        encoder=encoder_spec,
        **given,
    )
    return out.result(asdict(summary), _told(summary, store_uri))


def _given(writer: str, options: dict[str, Any]) -> dict[str, Any]:
    """The writer's options; a usage error for those that it does not take, or lacks."""
    from taistore.synthetic.image_writers import check_image_options

    try:
        check_image_options(writer, options)
    except SyntheticError as error:
        message = str(error)
        for parameter in click.get_current_context().command.params:
            message = re.sub(rf"\b{parameter.name}\b", parameter.opts[0], message)
        raise click.UsageError(message) from error
    needed = {"diffusers": "model", "openai": "base_url", "folder": "images"}.get(writer)
    if needed is not None and needed not in options:
        raise click.UsageError(f"--writer {writer} needs --{needed.replace('_', '-')}")
    return options


def _told(summary: "GenerateImagesSummary", store_uri: str) -> str:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in summary.rejects.items())
    lines = [
        f"{counted(summary.requested, 'image')} of {counted(summary.texts, 'text')}: "
        f"{summary.written:,} written, "
        f"{summary.present:,} were there, {summary.rejected:,} rejected"
        + (f" ({reasons})" if reasons else "")
    ]
    if summary.rejected_earlier:
        lines.append(
            f"{summary.rejected_earlier:,} rejected earlier and not asked for again: "
            "--retry-rejects does"
        )
    if any(reason.startswith("unanswered:") for reason in summary.rejects):
        lines.append("without an answer: the same command asks for those again")
    lines.append(
        f"next: {at_store('synthetic audit', store_uri)}, then "
        f"{at_store('train --learn-from texts+synthetic', store_uri)}"
    )
    return "\n".join(lines)
