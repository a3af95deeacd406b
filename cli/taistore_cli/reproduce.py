"""``taistore reproduce``: the paper's tables on the data and weights that are there."""

from pathlib import Path
from typing import Any

import click

from taistore_cli.options import common_options, device_option, precision_option
from taistore_cli.output import Output

TABLES = ("table1", "table2", "table3")
METHODS = ("paper", "default")
"""Those of ``taistore.reproduction.tables``, whose import would load torch only to show help."""


@click.command()
@click.argument("name", metavar="TABLE", type=click.Choice(TABLES))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the sets; what it lacks is said in a line each.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduction"),
    show_default=True,
    metavar="FOLDER",
    help="Folder of the stores and runs, used again when the command is run again.",
)
@click.option("--sets", metavar="A,B,...", help="Sets of DIR; default: the table's.")
@click.option(
    "--encoder",
    "encoder_spec",
    metavar="SPEC",
    help="Encoder; default: the paper's, open_clip:RN50/openai@224 (table1: @448).",
)
@click.option("--seeds", default="0", show_default=True, metavar="S,S,...")
@click.option(
    "--texts",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Captions to train on.",
)
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="paper: its network and settings; default: taistore's own. May be given twice; "
    "default: both.",
)
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    default=0,
    show_default=True,
    metavar="G",
    help="Also use a G x G grid of regions, which the paper does not.",
)
@device_option
@precision_option
@common_options
def command(
    *,
    name: str,
    data: Path,
    work: Path,
    sets: str | None,
    encoder_spec: str | None,
    seeds: str,
    texts: int,
    methods: tuple[str, ...],
    regions: int,
    device: str,
    precision: str,
    out: Output,
) -> dict[str, Any]:
    """Run TABLE of arXiv:2312.04160 and print it beside the paper's figures.

    \b
    table1  partial labels, 10 to 90 % known: voc2007, coco2014, nuswide
    table2  zero-shot: voc2007, coco2014, nuswide
    table3  1 to 16 shots: voc2007, coco2014

    Sets lie in DIR as they are published (VOCdevkit/VOC2007, coco2014/annotations, nuswide with
    ImageList and Groundtruth), or as DIR/NAME/labels.jsonl with classes.csv, any NAME. Run it
    again to go on: nothing is encoded or trained twice.

    \b
    Example:
      taistore reproduce table2 --data data/ --sets voc2012,coco --encoder packaged
    """
    from taistore.reproduction.reproduce import reproduce
    from taistore.reproduction.tables import TABLES as TABLES_BY_NAME

    found = reproduce(
        TABLES_BY_NAME[name],
        data,
        work=work,
        sets=_names(sets) if sets is not None else (),
        encoder_spec=encoder_spec,
        seeds=_seeds(seeds),
        texts=texts,
        methods=methods or METHODS,
        regions=regions,
        device=device,
        precision=precision,
        progress=out.progress,
        note=out.note,
    )
    return out.result(found.to_json(), found.text())


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    # A set is a folder of DIR, never one elsewhere.
    if not names or any(Path(name).name != name for name in names):
        raise click.BadParameter(
            f"{text!r}: give names of folders in --data, separated by commas", param_hint="--sets"
        )
    return names


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise click.BadParameter(
            f"{text!r}: give different whole numbers from 0 on, such as 0,1,2", param_hint="--seeds"
        )
    return seeds
