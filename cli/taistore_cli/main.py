"""The entry point ``taistore``."""

import click

from taistore import __version__
from taistore_cli.group import TaistoreGroup


@click.group(
    name="taistore",
    cls=TaistoreGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="taistore")
def main() -> None:
    """Tag images with every label they show.

    'taistore tag' does the whole job; the other commands are its steps one by one, and more.

    taistore writes captions for combinations of your labels, embeds them with a dual encoder,
    trains a small adapter on the perturbed text vectors and applies it to image vectors. All
    vectors live in a store on disk (--store, default ./taistore-store).

    \b
    Example:
      taistore tag photos/ --labels labels.txt --encoder packaged
    """
