"""Options that several commands share, declared once."""

import functools
import os
import shlex
from collections.abc import Callable
from typing import Any

import click

from taistore import defaults
from taistore_cli.output import Output

store_option = click.option(
    "--store",
    "store_uri",
    envvar="TAISTORE_STORE",
    default=defaults.STORE,
    show_default=True,
    metavar="PATH",
    help="Directory or object-store URI of the store (or set TAISTORE_STORE).",
)

encoder_option = click.option(
    "--encoder",
    "encoder_spec",
    metavar="SPEC",
    help="Encoder, such as packaged or open_clip:RN50/openai@224; default: the store's own.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where encoder and adapter run: auto, cpu, cuda, cuda:1, mps.",
)

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Number format of the encoder.",
)

workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads that read and decode images while others are encoded.",
)

top_k_option = click.option(
    "--top-k",
    type=click.IntRange(min=1),
    help=f"Tags per image at most; default: {defaults.TOP_K}, or no bound with --threshold alone.",
)

threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Drop tags with a lower score (0 to 1).  [default: none]",
)

known_option = click.option(
    "--known",
    type=click.Choice(["override", "ignore"]),
    default="override",
    show_default=True,
    help="What the store knows of an image, such as by a manifest: override gives all labels that "
    "it shows, with the score 1, and none that it does not; ignore goes by the scores alone.",
)

max_rejects_option = click.option(
    "--max-rejects",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fail when more than N items had to be set aside; default: no bound.",
)


def batch_size_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--batch-size`` with this command's default."""
    return click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="Items per forward pass.",
    )


def common_options(command: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """``--json``, ``--quiet`` and ``--debug``; the command receives an ``Output`` as ``out``."""

    @functools.wraps(command)
    def with_output(
        *args: Any, as_json: bool, quiet: bool, debug: bool, **options: Any
    ) -> dict[str, Any]:
        # --debug acts in TaistoreGroup.main, where errors arrive.
        del debug
        return command(*args, out=Output(as_json=as_json, quiet=quiet), **options)

    options = (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object only."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )
    decorated: Callable[..., dict[str, Any]] = with_output
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def at_store(command: str, store_uri: str) -> str:
    """A command of taistore on this store, as it can be typed here.

    >>> print(at_store("show --rejects", "my shop"))
    taistore show --rejects --store 'my shop'
    """
    usual = os.environ.get("TAISTORE_STORE") or defaults.STORE
    named = "" if store_uri == usual else f" --store {shlex.quote(store_uri)}"
    return f"taistore {command}{named}"


def given_options() -> set[str]:
    """The options on the command line, each by its first name, such as ``--store``."""
    context = click.get_current_context()
    return {
        parameter.opts[0]
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and parameter.name is not None
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    }


def options_after(context: click.Context) -> bool:
    """Whether a group was called for one of its commands, which then has all the options."""
    if context.invoked_subcommand is None:
        return False
    # An option before the command would be lost, and another store be changed.
    given = sorted(given_options())
    if given:
        raise click.UsageError(
            f"give {given[0]} after the command: {context.command_path} "
            f"{context.invoked_subcommand} ... {given[0]}"
        )
    return True
