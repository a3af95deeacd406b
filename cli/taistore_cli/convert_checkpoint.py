"""``taistore convert-checkpoint``: OpenAI's own CLIP files into files that an encoder reads."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taistore_cli.options import common_options
from taistore_cli.output import Output


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="NAME",
    help="What it was trained as, such as RN50-quickgelu; OpenAI's published files need none.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Load an archive that OpenAI did not publish. Loading may run the program in it.",
)
@common_options
def command(
    *, archive: Path, target: Path, model: str | None, trust: bool, out: Output
) -> dict[str, Any]:
    """Take the weights out of ARCHIVE, a TorchScript file such as OpenAI's RN50.pt, into TARGET.

    A TorchScript archive holds a program, and loading it may run it: it is loaded only where its
    SHA-256 is one that OpenAI published, or with --trust. TARGET (.safetensors) holds tensors
    alone, and says with which activation they were trained. It is loaded and tried before it gets
    its name.

    \b
    Example:
      taistore convert-checkpoint RN50.pt rn50-quickgelu.safetensors
      taistore init labels.txt --encoder open_clip:RN50-quickgelu/rn50-quickgelu.safetensors
    """
    from taistore.encoders.open_clip.conversion import convert_checkpoint

    found = convert_checkpoint(archive, target, model=model, trust=trust)
    values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(found).items()}
    origin = f"OpenAI's {found.published}" if found.published else "not published by OpenAI"
    return out.result(
        values,
        f"{archive} ({origin}, SHA-256 {found.sha256}): {found.tensors:,} tensors in {target}, "
        f"loaded and tried\nnext: taistore init labels.txt --encoder {found.spec}",
    )
