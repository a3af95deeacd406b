"""Options of writers that ask a language model, and the writer that they describe."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.labels import LabelSet
    from taistore.texts.llm.chat import ChatEngine
    from taistore.texts.llm.conversation import ConversationWriter

CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """What was given on the command line; None where nothing was."""

    base_url: str | None
    model: str | None
    concurrency: int | None
    timeout: float | None
    tensor_parallel: int | None
    gpu_memory: float | None
    instructions: str | None
    temperature: float | None
    max_tokens: int | None
    lost_labels: str | None
    retry_rejects: bool | None

    def check(self, writer: str) -> None:
        """Raise a usage error for options that this writer would silently ignore."""
        others = {"openai": _VLLM_ONLY, "vllm": _OPENAI_ONLY}
        idle = others.get(writer, {field.name for field in fields(self)})
        for field in fields(self):
            if field.name in idle and getattr(self, field.name) is not None:
                option = "--" + field.name.replace("_", "-")
                raise click.UsageError(f"{option} has no meaning for --writer {writer}")
        if writer == "openai" and self.base_url is None:
            raise click.UsageError(
                "--writer openai needs --base-url, such as http://127.0.0.1:8000/v1"
            )
        if writer == "vllm" and self.model is None:
            raise click.UsageError("--writer vllm needs --model, a name on the hub or a folder")

    def config(self) -> dict[str, Any]:
        """What goes into the job's configuration."""
        chosen = {"lost_labels": self.lost_labels, "retry_rejects": self.retry_rejects}
        return {name: value for name, value in chosen.items() if value is not None}

    @contextlib.contextmanager
    def open_writer(
        self, writer: str, labels: "LabelSet", out: Output
    ) -> "Iterator[ConversationWriter | None]":
        """The writer with its engine open; None for ``template``, which needs none."""
        if writer == "template":
            yield None
            return
        from taistore.texts.llm.conversation import ConversationWriter
        from taistore.texts.llm.instructions import load_instructions
        from taistore.texts.llm.requests import Sampling

        prompts = load_instructions(self.instructions or "paper")
        usual = Sampling()
        sampling = Sampling(
            temperature=usual.temperature if self.temperature is None else self.temperature,
            max_tokens=self.max_tokens or usual.max_tokens,
        )
        with self._engine(writer, out) as engine:
            out.note(f"captions by {engine.model}")
            if others := getattr(engine, "others", ()):
                listed = ", ".join(others[:5])
                out.note(f"the server does not list this model, but {listed}: those may answer")
            yield ConversationWriter(
                engine,
                labels,
                name=writer,
                prompts=prompts,
                sampling=sampling,
                # As many calls as requests under way: no answer waits for a slower one. vLLM
                # keeps its batch full by itself and is called from one thread.
                lanes=(self.concurrency or CONCURRENCY) if writer == "openai" else 1,
            )

    def _engine(self, writer: str, out: Output) -> "ChatEngine":
        if writer == "vllm":
            from taistore.texts.llm.engines.vllm import VllmEngine

            out.note(f"loading {self.model}")
            return VllmEngine(
                self.model or "",
                tensor_parallel=self.tensor_parallel or 1,
                memory=self.gpu_memory or 0.9,
            )
        from taistore.texts.llm.engines.openai import OpenAIEngine

        return OpenAIEngine(
            self.base_url or "",
            self.model or "",
            concurrency=self.concurrency or CONCURRENCY,
            timeout=self.timeout or 120.0,
        )


_OPENAI_ONLY = {"base_url", "concurrency", "timeout"}
_VLLM_ONLY = {"tensor_parallel", "gpu_memory"}

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
        help=f"openai: requests under way at once; default {CONCURRENCY}.",
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
    click.option(
        "--lost-labels",
        type=click.Choice(["reduce", "retry", "drop"]),
        help="A caption that does not mention all its labels is kept for those that it mentions "
        "(reduce, the default), written again first (retry), or rejected (drop).",
    ),
    click.option(
        "--retry-rejects",
        is_flag=True,
        default=None,
        help="Ask again for captions that an earlier run rejected.",
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
