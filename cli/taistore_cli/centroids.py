"""``taistore centroids``: image centroids of labels, and whether offsets lead to them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, encoder_option, given_options, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.geometry.diagnosis import Survey
    from taistore.synthetic.centroid_gaps import SyntheticSurvey

OF_PHOTOS = ("--pseudo-counts", "--k", "--known", "--mask-seed", "--plots")
"""Options that say how photos stand for a label, of which synthetic images have no need."""


@click.command()
@click.option("--split", default="train", help="Images to go by.")
@click.option(
    "--synthetic",
    is_flag=True,
    help="Show the centroids of synthetic images, and how far they lie from the photos of --split.",
)
@encoder_option
@click.option(
    "--pseudo-counts",
    type=click.FloatRange(min=0),
    default=4.0,
    help="Images that a label's expected place is worth; 0: known images alone.",
)
@click.option(
    "--k",
    type=click.IntRange(min=0),
    default=0,
    show_default=False,
    help="Nearest images to estimate from and to check on.  [default: 1 in 25, 20 to 100]",
)
@click.option(
    "--known",
    type=click.FloatRange(min=0, max=1),
    help="Mask labels: go by this share of them, and check against all.  [default: all]",
)
@click.option("--mask-seed", type=int, default=0, help="Seed of that mask.")
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw the images of the 8 most frequent label combinations, with estimated and true "
    "centroids.",
)
@store_option
@common_options
def command(
    *,
    split: str,
    synthetic: bool,
    encoder_spec: str | None,
    pseudo_counts: float,
    k: int,
    known: float | None,
    mask_seed: int,
    plots: Path | None,
    store_uri: str,
    out: Output,
) -> dict[str, Any]:
    """Show each label's known images, their spread, and where its image centroid is taken from.

    "before" and "after" are the share of the K images nearest to a label's texts that are known to
    show it, before and after the texts are shifted by their offsets.

    With --synthetic, distances between the centroids of a label's synthetic images, of the photos
    known to show it, and of its texts; "chance" is what two samples of one place would be apart.

    \b
    Example:
      taistore centroids --split train --known 0.1 --plots plots/
      taistore centroids --synthetic
    """
    if synthetic and (idle := [name for name in OF_PHOTOS if name in given_options()]):
        raise click.UsageError(f"{idle[0]} is about photos: leave it out, or --synthetic")
    project = open_project(store_uri, out)
    if synthetic:
        gaps = project.synthetic_centroids(split=split, encoder=encoder_spec)
        spec = project.encoder_info(encoder_spec).spec
        return out.result({"encoder": spec, **gaps.to_json()}, _gap_table(gaps))
    found = project.centroids(
        split=split,
        encoder=encoder_spec,
        pseudo_counts=pseudo_counts,
        neighbours=k,
        known=known,
        mask_seed=mask_seed,
        plots=plots,
    )
    value = {"encoder": project.encoder_info(encoder_spec).spec, **found.to_json()}
    lines = [_table(found)]
    if plots is not None:
        value["plots"] = [str(path) for path in found.pictures]
        lines += value["plots"]
    return out.result(value, "\n".join(lines))


def _table(found: "Survey") -> str:
    value = found.to_json()
    width = max([5, *(len(line.name) for line in found.labels)])
    masked = any(line.error is not None for line in found.labels)
    lines = [
        f"{counted(found.images, 'image')} of split {found.split!r}"
        + (f" ({found.without_vector:,} more have no vector)" if found.without_vector else ""),
        f"{'label':<{width}} {'images':>8} {'spread':>8} {'distance':>8}  {'source':<10} "
        f"{'before':>6} {'after':>6}" + ("    error" if masked else ""),
    ]
    for line in found.labels:
        cells = f"{line.name:<{width}} {line.images:>8,} {_cell(line.dispersion, 8, 1)} "
        cells += f"{_cell(line.distance, 8, 2)}  {line.source:<10} "
        cells += f"{_percent(line.before)} {_percent(line.after)}"
        lines.append(cells + (f" {_cell(line.error, 8, 2)}" if masked else ""))
    lines.append(
        f"known to show the label among the nearest images: {_percent(value['before'])} % before, "
        f"{_percent(value['after'])} % after the shift (mean over labels)"
    )
    return "\n".join(lines)


def _gap_table(found: "SyntheticSurvey") -> str:
    width = max([5, *(len(line.name) for line in found.labels)])
    lines = [
        f"{counted(found.images, 'synthetic image')}, held against "
        f"{counted(found.photos, 'photo')} of split {found.split!r}",
        f"{'':<{width}} {'synthetic':>10} {'':>8} {'photos':>8}   distances between centroids",
        f"{'label':<{width}} {'images':>10} {'spread':>8} {'':>8}   "
        f"{'to photos':>9} {'chance':>8} {'texts to photos':>16} {'to texts':>9}",
    ]
    for line in found.labels:
        lines.append(
            f"{line.name:<{width}} {line.synthetic:>10,} {_cell(line.dispersion, 8, 1)} "
            f"{line.photos:>8,}   {_cell(line.synthetic_to_photos, 9, 2)} "
            f"{_cell(line.sampling, 8, 2)} {_cell(line.texts_to_photos, 16, 2)} "
            f"{_cell(line.synthetic_to_texts, 9, 2)}"
        )
    mean = found.mean
    if mean is None:
        lines.append("no label has synthetic images, texts and photos known to show it")
        return "\n".join(lines)
    lines += [
        f"mean of {counted(mean.labels, 'label')}: synthetic images lie "
        f"{mean.synthetic_to_photos:.2f} from photos, texts {mean.texts_to_photos:.2f}, "
        "synthetic images from texts "
        f"{mean.synthetic_to_texts:.2f}",
        f"what all labels share of it: {mean.common_synthetic:.2f} of synthetic images, "
        f"{mean.common_texts:.2f} of texts",
        f"synthetic images are nearer to photos than texts are: {100 * mean.nearer:.1f} % of these "
        "labels",
    ]
    return "\n".join(lines)


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"


def _percent(value: float | None) -> str:
    return _cell(None if value is None else 100 * value, 6, 1)
