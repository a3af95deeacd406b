"""Options of writers that ask a language model."""

import functools
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import click

from taistore.errors import TextError


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """What was given on the command line for a writer; None where nothing was."""

    base_url: str | None
    model: str | None
    concurrency: int | None
    timeout: float | None
    tensor_parallel: int | None
    gpu_memory: float | None
    instructions: str | None
    temperature: float | None
    max_tokens: int | None

    def given(self, writer: str) -> dict[str, Any]:
        """The options of :func:`taistore.texts.writers.open_writer`.

        Raises a usage error for those that this writer does not take, or lacks.
        """
        from taistore.texts.writers import check_options

        options = {name: value for name, value in asdict(self).items() if value is not None}
        try:
            check_options(writer, options)
        except TextError as error:
            raise click.UsageError(_as_flags(str(error))) from error
        if writer == "openai" and self.base_url is None:
            raise click.UsageError(
                "--writer openai needs --base-url, such as http://127.0.0.1:8000/v1"
            )
        if writer == "vllm" and self.model is None:
            raise click.UsageError("--writer vllm needs --model, a name on the hub or a folder")
        return options


def _as_flags(message: str) -> str:
    """A message of the library about parameters, in the words of the command line."""
    for name in (field.name for field in fields(ModelOptions)):
        message = re.sub(rf"\b{name}\b", "--" + name.replace("_", "-"), message)
    return message.replace(" for writer ", " for --writer ")


_OPTIONS = (
    click.option("--base-url", metavar="URL", help="openai: where the server's API begins."),
    click.option(
        "--model",
        "model_name",
        metavar="NAME",
        help="openai: a model of the server, default its only one; vllm: a hub name or folder.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1, max=1024),
        help="openai: requests under way at once; default 8.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="openai: for one answer; default 120.",
    ),
    click.option("--tensor-parallel", type=click.IntRange(min=1), help="vllm: GPUs; default 1."),
    click.option(
        "--gpu-memory",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="SHARE",
        help="vllm: how much of a GPU it may take; default 0.9.",
    ),
    click.option(
        "--instructions",
        metavar="NAME|FILE",
        help="What the model is told: paper (default), few-shot (for small models), or a .toml or "
        ".json file.",
    ),
    click.option("--temperature", type=click.FloatRange(0, 5), help="Default 0.9."),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), help="Tokens of an answer; default 60."
    ),
)


def model_options(command: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The options of language models; the command receives them as one ``model``."""

    @functools.wraps(command)
    def with_model(*args: Any, model_name: str | None, **options: Any) -> dict[str, Any]:
        own = {f.name: options.pop(f.name) for f in fields(ModelOptions) if f.name != "model"}
        return command(*args, model=ModelOptions(model=model_name, **own), **options)

    decorated: Callable[..., dict[str, Any]] = with_model
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
