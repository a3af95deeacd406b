"""Messages of the library, which name parameters, as the command line says them."""

import click
import pytest

from taistore_cli.flags import in_flags


@click.command()
@click.option("--max-rejects")
@click.option("--encoder")
@click.option("--format")
@click.option("--store")
@click.option("--out")
def command() -> None:
    """A command with options."""


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            "mend them or raise max_rejects=, then go on",
            "mend them or raise --max-rejects, then go on",
        ),
        ("use encoder=packaged: it needs no hub", "use --encoder packaged: it needs no hub"),
        ("use encoder=packaged:lite0@320.", "use --encoder packaged:lite0@320."),
        ("name another with layout=folder", "name another with --format folder"),
        ("choose another path=", "choose another --store"),
        ("choose another out=", "choose another --out"),
        (
            "text_weights 'openai=3,template=1' is wrong",
            "text_weights 'openai=3,template=1' is wrong",
        ),
        ("raise seed= or top_k=5", "raise seed= or top_k=5"),
        ("/photos/out=1/a.jpg: cut off", "/photos/out=1/a.jpg: cut off"),
    ],
)
def test_parameters_become_the_commands_options(said: str, wanted: str) -> None:
    assert in_flags(said, command) == wanted
