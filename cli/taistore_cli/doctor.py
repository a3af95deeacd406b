"""``taistore doctor``: what works on this machine, and what to do about what does not."""

from typing import Any

import click

from taistore_cli import init
from taistore_cli.flags import in_flags
from taistore_cli.options import common_options, device_option
from taistore_cli.output import Output


@click.command()
@device_option
@common_options
def command(*, device: str, out: Output) -> dict[str, Any]:
    """Check packages, extras, devices, encoders and the hub of models on this machine.

    Nothing is downloaded. Where the weights of the default encoder are missing it says what to do.

    \b
    Example:
      taistore doctor --json
    """
    from taistore.health import check_health

    found = check_health(device=device)
    return out.result(found.to_json(), in_flags(found.text(), init.command))
