"""``taistore calibrate``: thresholds with a stated precision, and probabilities."""

from typing import TYPE_CHECKING, Any

import click

from taistore import defaults
from taistore.printable import counted, printable
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, device_option, store_option
from taistore_cli.output import Output
from taistore_cli.score import STEPS

if TYPE_CHECKING:
    from taistore.labels import LabelSet
    from taistore.scoring.cuts.calibration_file import Calibration, LabelCalibration

_SHOWN = 30
"""Labels that are printed; --json has all."""


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--precision",
    type=click.FloatRange(0.01, 0.999),
    default=defaults.PRECISION,
    metavar="P",
    help="Share of a label's tags that are right.",
)
@click.option(
    "--split",
    default=defaults.VALIDATION,
    help="The labelled images to go by.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.01, 0.999),
    default=defaults.CERTAINTY,
    help="With which a label keeps its promise.",
)
@click.option(
    "--step",
    type=click.Choice(STEPS),
    help="Step of the ladder.  [default: the one with the best mAP on these images, where one "
    "beats the top clearly]",
)
@store_option
@device_option
@common_options
def command(
    *,
    run_id: str,
    precision: float,
    split: str,
    confidence: float,
    step: Any,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Find the thresholds from which on tags of RUN (an id, or latest) are right so often.

    Each label gets the lowest score from which on the share P of its tags is right, with the
    confidence asked for by the bound of Clopper and Pearson; or it is said how many labelled images
    it lacks at least. Cuts are tested from the highest score down at numbers of images that are
    fixed beforehand, up to the first that fails, so that looking at many costs no confidence. The
    promise is made for each label by itself: of many, some may break it. Labels that are unknown of
    an image count in nothing, and images that the training has learnt from are left out.

    Scores become probabilities, and taistore score tags by them from then on: with --precision by
    the thresholds, else where tags are best on average. It is kept with the run; run again it is
    made anew.

    \b
    Example:
      taistore calibrate latest --precision 0.9 --split val
      taistore score latest photos/ --precision 0.9 --out tags.jsonl
    """
    project = open_project(store_uri, out, device=device)
    found = project.run(run_id).calibrate(
        precision=precision, split=split, confidence=confidence, step=step
    )
    return out.result(found.to_json(), "\n".join(_lines(found, project.labels)))


def _lines(found: "Calibration", labels: "LabelSet") -> list[str]:
    names = {label.key: printable(label.name) for label in labels}
    have = [label for label in found.labels if label.more == 0]
    lines = [
        f"{counted(found.images, 'image')} of split {found.split!r}, step {found.step} "
        f"({found.step_why})"
        + (f"; {found.learnt:,} left out, the training has read their labels" * bool(found.learnt)),
        f"{len(have):,} of {len(found.labels):,} labels have a threshold for precision "
        f"{found.precision:g}, each with {found.confidence:.0%} confidence",
    ]
    order = sorted(found.labels, key=lambda label: (label.more is None, label.more or 0))
    lines += [
        f"  {names.get(one.key, one.key):30.30} {_said(found, one)}" for one in order[:_SHOWN]
    ]
    if len(order) > _SHOWN:
        lines.append(f"  ... {len(order) - _SHOWN:,} more labels: see --json")
    return [*lines, f"on average tags are best from probability {found.threshold:.2f} on"]


def _said(found: "Calibration", one: "LabelCalibration") -> str:
    for cut in one.cuts:
        if cut.precision == found.precision:
            return (
                f"score {cut.threshold:.3f}: {cut.right:,} of {cut.tagged:,} right, at least "
                f"{cut.lower:.3f}"
            )
    if one.more is None:
        return f"not so precise at any score ({one.positives:,} of {one.known:,} images show it)"
    return f"not enough labelled images: {one.more:,} more"
