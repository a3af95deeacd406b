"""``--precision`` of ``taistore score``: the precision of tags, or the encoder's number format."""

from collections.abc import Sequence
from typing import Any

import click

FORMATS = ("auto", "fp32", "bf16", "fp16")


class _Precision(click.ParamType):
    """A share between 0 and 1, or a number format."""

    name = "precision"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        """The share as a number, the format as it is."""
        if value in FORMATS:
            return str(value)
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            self.fail(f"{value!r} is neither a share such as 0.9 nor one of {', '.join(FORMATS)}")
        return share


precisions_option = click.option(
    "--precision",
    type=_Precision(),
    multiple=True,
    metavar="P",
    help="A share such as 0.9: only tags of which so many are right, by the thresholds that "
    "taistore calibrate found; labels without one give none. A word (auto, fp32, bf16, fp16): the "
    "number format of the encoder, default: auto. May be given once as either.",
)


def promised_and_format(values: Sequence[float | str]) -> tuple[float | None, str]:
    """The share and the number format that were given, of each the only one."""
    shares = [value for value in values if isinstance(value, float)]
    formats = [value for value in values if isinstance(value, str)]
    if len(shares) > 1 or len(formats) > 1:
        raise click.UsageError("--precision takes one share and one number format")
    return (shares[0] if shares else None), (formats[0] if formats else "auto")
