"""``taistore reproduce``: the paper's tables on the data and weights that are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore_cli.model_options import ModelOptions, model_options
from taistore_cli.options import common_options, device_option, given_options, precision_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.reproduction.synthetic_tables.table_images import TableImages
    from taistore.texts.combinations.dealing import Combinations

TABLES = ("table1", "table2", "table3")
T2I_PAL = "t2i-pal"
PARTS = ("1", "2", "4")
METHODS = (
    "paper",
    "default",
    "default-texts",
    "default-synthetic",
    "coop",
    "dualcoop",
    "tai-dpt",
    T2I_PAL,
)
"""Those of ``taistore.reproduction.tables``, whose import would load torch only to show help."""

EFFICIENCY, GROWTH = "table4", "fig1"
"""Of ``taistore.reproduction.without_data.efficiency`` and ``label_growth``, which take no data."""

_ALWAYS = {"--json", "--quiet", "--debug"}
WITHOUT_DATA = {EFFICIENCY: _ALWAYS, GROWTH: _ALWAYS | {"--label-counts", "--device"}}
"""The options that each of these has."""


@click.command()
@click.argument("name", metavar="TABLE", type=click.Choice((*TABLES, T2I_PAL, *WITHOUT_DATA)))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the sets; what it lacks is said in a line each.  [required, but for table4 "
    "and fig1]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduction"),
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
@click.option("--seeds", default="0", metavar="S,S,...")
@click.option(
    "--texts",
    "count",
    type=click.IntRange(min=1),
    help="Captions to train on.  [default: 10000]",
)
@click.option(
    "--writer",
    metavar="NAME",
    help="What writes the captions, as in generate-texts; openai needs --model here.  [default: "
    "template]",
)
@click.option(
    "--combinations",
    type=click.Choice(["uniform", "balanced", "plausible"]),
    help="Which labels meet in a caption: drawn at random, as in the paper; each label as often; "
    "or labels that go together, by their names.  [default: uniform]",
)
@click.option(
    "--captions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Captions of your own instead, as ingest-texts reads them.",
)
@model_options
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="paper: its network and settings; default: what taistore train does; default-texts "
    "(table2): the same without the unlabelled photos. Prompt learners: dualcoop (table1) and coop "
    "(table3), with which the others are then averaged as published, and tai-dpt. May be given "
    "several times.  [default: all but the prompt learners]",
)
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    default=0,
    metavar="G",
    help="Also use a G x G grid of regions, which the paper does not.",
)
@click.option(
    "--radius",
    metavar="R",
    help="Noise on texts: a multiple (2.5x) or absolute.  [default: the paper's]",
)
@click.option(
    "--image-radius",
    metavar="R",
    help="Noise on images: a multiple or absolute.  [default: the paper's]",
)
@click.option(
    "--hidden", type=click.IntRange(min=1), help="Width of the hidden layers.  [default: 2048]"
)
@click.option(
    "--dropout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    help="Share of a hidden layer's values that is dropped.  [default: 0.5]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the texts.  [default: 60]")
@click.option(
    "--scores",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Scores of DualCoOp (table1) or CoOp (table3) to average with, as the paper does: "
    "SET-COLUMN.parquet or .npy, such as voc2007-10%.parquet, or SET.parquet for all columns.",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="Only this table of the paper; may be given several times.  [default: all three]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Synthetic images made elsewhere, as generate-images --writer folder reads them.",
)
@click.option(
    "--image-model",
    metavar="NAME",
    help="What makes the images instead: a model of diffusers, or of the server at --image-url.",
)
@click.option("--image-url", metavar="URL", help="Where the API of a server of images begins.")
@click.option("--per-text", type=click.IntRange(min=1), help="Images of each text; default 6.")
@click.option(
    "--label-counts", metavar="N,N,...", help="fig1: numbers of labels.  [default: 20,80,400,1000]"
)
@device_option
@precision_option
@common_options
def command(
    *,
    name: str,
    data: Path | None,
    work: Path,
    sets: str | None,
    encoder_spec: str | None,
    seeds: str,
    count: int | None,
    writer: str | None,
    combinations: "Combinations | None",
    captions: Path | None,
    model: ModelOptions,
    methods: tuple[str, ...],
    regions: int,
    scores: Path | None,
    parts: tuple[str, ...],
    images: Path | None,
    image_model: str | None,
    image_url: str | None,
    per_text: int | None,
    label_counts: str | None,
    device: str,
    precision: str,
    out: Output,
    **settings: Any,
) -> dict[str, Any]:
    """Run TABLE of arXiv:2312.04160, or those of T2I-PAL, and print it beside the paper's figures.

    \b
    table1  partial labels, 10 to 90 % known: voc2007, coco2014, nuswide
    table2  zero-shot: voc2007, coco2014, nuswide
    table3  1 to 16 shots: voc2007, coco2014
    t2i-pal Tables 1, 2 and 4 of T2I-PAL, on synthetic images: zero-shot, partial labels, few shots
    table4  weights and operations, counted: takes no data and no other options
    fig1    time and memory of a training step against the labels, measured here: takes no data

    Sets lie in DIR as they are published (VOCdevkit/VOC2007, coco2014/annotations, nuswide with
    ImageList and Groundtruth), or as DIR/NAME/labels.jsonl with classes.csv, any NAME. Run it
    again to go on: nothing is encoded or trained twice.

    \b
    Example:
      taistore reproduce table2 --data data/ --sets voc2012,coco --encoder packaged
      taistore reproduce table1 --data data/ --captions vicuna.jsonl --method paper --radius 25
      taistore reproduce t2i-pal --part 1 --data data/ --images made.jsonl --regions 7
      taistore reproduce table4
      taistore reproduce fig1 --label-counts 20,80
    """
    if name in WITHOUT_DATA:
        return _without_data(name, label_counts, device, out)
    if data is None or label_counts is not None:
        raise click.UsageError(
            f"{name} needs --data DIR, the folder of the sets"
            if data is None
            else f"--label-counts is for {GROWTH} and changes nothing here: leave it out"
        )
    from taistore.reproduction.reproduce import reproduce
    from taistore.reproduction.synthetic_tables.t2i_pal_tables import T2I_TABLES
    from taistore.reproduction.table_texts import TableTexts
    from taistore.reproduction.tables import TABLES as TABLES_BY_NAME

    texts = TableTexts(
        count=count,
        writer=writer,
        options=model.given(writer or "template"),
        combinations=combinations,
        captions=captions,
    )
    wanted = {f"{T2I_PAL} table {part}": part for part in parts or PARTS}
    tables = (
        [T2I_TABLES[one] for one in T2I_TABLES if one in wanted]
        if name == T2I_PAL
        else [TABLES_BY_NAME[name]]
    )
    if name != T2I_PAL and parts:
        raise click.UsageError(f"--part is for {T2I_PAL} and changes nothing here: leave it out")
    made = _table_images(images, image_model, image_url, per_text)
    found = [
        reproduce(
            table,
            data,
            work=work,
            sets=_names(sets) if sets is not None else (),
            encoder_spec=encoder_spec,
            seeds=_whole(seeds, "--seeds", low=0),
            texts=texts,
            images=made,
            methods=methods,
            settings={name: value for name, value in settings.items() if value is not None},
            scores=scores,
            regions=regions,
            device=device,
            precision=precision,
            progress=out.progress,
            note=out.note,
        )
        for table in tables
    ]
    if name != T2I_PAL:
        return out.result(found[0].to_json(), found[0].text())
    value = {"table": T2I_PAL, "tables": [one.to_json() for one in found]}
    return out.result(value, "\n\n".join(one.text() for one in found))


def _table_images(
    images: Path | None, model: str | None, url: str | None, per_text: int | None
) -> "TableImages | None":
    """The synthetic images that the options name; None where they name none."""
    from taistore.reproduction.synthetic_tables.table_images import TableImages

    drawn = {"model": model, "base_url": url, "per_text": per_text}
    options: dict[str, Any] = {name: value for name, value in drawn.items() if value is not None}
    if images is not None:
        if options:
            raise click.UsageError(
                "--images are made already: leave --image-model, --image-url and --per-text out"
            )
        return TableImages(writer="folder", options={"images": images})
    if not options:
        return None
    return TableImages(writer="diffusers" if url is None else "openai", options=options)


def _without_data(name: str, label_counts: str | None, device: str, out: Output) -> dict[str, Any]:
    useless = given_options() - WITHOUT_DATA[name]
    if useless:
        raise click.UsageError(
            f"{min(useless)} has no meaning for {name}, which takes no data: leave it out"
        )
    if name == EFFICIENCY:
        from taistore.reproduction.without_data.efficiency import count_efficiency

        counted = count_efficiency()
        return out.result(counted.to_json(), counted.text())
    from taistore.reproduction.without_data.label_growth import LABELS, measure_growth

    labels = LABELS if label_counts is None else _whole(label_counts, "--label-counts", low=1)
    curves = measure_growth(labels, device=device, progress=out.progress)
    return out.result(curves.to_json(), curves.text())


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    # A set is a folder of DIR, never one elsewhere.
    if not names or any(Path(name).name != name for name in names):
        raise click.BadParameter(
            f"{text!r}: give names of folders in --data, separated by commas", param_hint="--sets"
        )
    return names


def _whole(text: str, option: str, *, low: int) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < low or len(set(found)) < len(found):
        raise click.BadParameter(
            f"{text!r}: give different whole numbers from {low} on, such as {low},{low + 1}",
            param_hint=option,
        )
    return found
