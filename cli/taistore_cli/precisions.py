"""``--precision`` of ``taistore score``: the precision of tags, or the encoder's number format."""

from typing import NamedTuple

import click

FORMATS = ("auto", "fp32", "bf16", "fp16")


class Precisions(NamedTuple):
    """The share of right tags that was asked for, and the number format of the encoder."""

    promised: float | None = None
    number_format: str = "auto"


def _read(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Precisions:
    """Words name a number format, anything else is a share; each may be there once."""
    formats = [value for value in values if value in FORMATS]
    shares = [_share(value) for value in values if value not in FORMATS]
    if len(shares) > 1 or len(formats) > 1:
        raise click.BadParameter("give one share and one number format at most")
    return Precisions(shares[0] if shares else None, formats[0] if formats else "auto")


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(
            f"{value!r} is neither a share such as 0.9 nor one of {', '.join(FORMATS)}"
        )
    return share


precisions_option = click.option(
    "--precision",
    "precisions",
    multiple=True,
    callback=_read,
    metavar="P",
    help="A share such as 0.9: only tags of which so many are right, by the thresholds that "
    "taistore calibrate found; labels without one give none. A word (auto, fp32, bf16, fp16): the "
    "number format of the encoder. Both may be given.  [default: auto]",
)
