"""Text writers by name: taistore's own, and those that other packages add."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from taistore import plugins
from taistore.errors import PluginError, TextError
from taistore.labels import LabelSet
from taistore.texts.llm.model_writers import openai_writer, vllm_writer
from taistore.texts.templates.template_writer import TemplateWriter
from taistore.texts.writer import TextWriter

GROUP = "taistore.writers"
"""Entry points of this group are writers; :mod:`taistore.texts.writer` says what they are."""

plugins.register(GROUP, TemplateWriter.name, TemplateWriter)
plugins.register(GROUP, "openai", openai_writer)
plugins.register(GROUP, "vllm", vllm_writer)


@contextmanager
def open_writer(name: str, labels: LabelSet, **options: Any) -> Iterator[TextWriter]:
    """The writer of that name for one label set, open while the block runs.

    ``options`` are the writer's own, by keyword. Raises :class:`TextError` where there is no such
    writer, where an option is not one of its own, and whatever opening it raises.
    """
    check_options(name, options)
    made = plugins.find(GROUP, name)(labels, **options)
    if isinstance(made, AbstractContextManager):
        with made as writer:
            yield writer
    else:
        yield made


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`TextError` where a writer does not exist or does not take an option."""
    try:
        factory = plugins.find(GROUP, name)
    except PluginError as error:
        if name in plugins.names(GROUP):
            raise
        there = ", ".join(plugins.names(GROUP))
        raise TextError(f"no text writer {name!r}: there are {there}") from error
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    takes = [p.name for p in parameters]
    for option in options:
        if option not in takes:
            raise TextError(
                f"{option} has no meaning for writer {name}: it takes "
                f"{', '.join(takes) or 'no options'}"
            )
