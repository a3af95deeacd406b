"""Text writers by name: taistore's own, and those that other packages add."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from taistore import plugins
from taistore.errors import PluginError, TextError
from taistore.labels import LabelSet
from taistore.texts.llm.model_writers import openai_writer, vllm_writer
from taistore.texts.plugin_writer import GROUP, PluginWriter
from taistore.texts.templates.template_writer import TemplateWriter
from taistore.texts.writer import TextWriter

plugins.register(GROUP, TemplateWriter.name, TemplateWriter)
plugins.register(GROUP, "openai", openai_writer)
plugins.register(GROUP, "vllm", vllm_writer)


@contextlib.contextmanager
def open_writer(name: str, labels: LabelSet, **options: Any) -> Iterator[TextWriter]:
    """The writer of that name for one label set, open while the block runs.

    ``options`` are the writer's own, by keyword. Raises :class:`TextError` where there is no such
    writer, where an option is not one of its own, and whatever opening it raises;
    :class:`PluginError` where another package's fails or gives no :class:`TextWriter`.
    """
    check_options(name, options)
    made = plugins.make(GROUP, name, labels, **options)
    with contextlib.ExitStack() as stack:
        if isinstance(made, contextlib.AbstractContextManager):
            with plugins.blame(GROUP, name, "cannot be opened"):
                made = stack.enter_context(made)
        plugins.require(GROUP, name, made, TextWriter)
        yield made if plugins.ours(GROUP, name) else PluginWriter(name, made)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`TextError` where a writer does not exist or does not take an option."""
    try:
        factory = plugins.find(GROUP, name)
    except PluginError as error:
        if name in plugins.names(GROUP):
            raise
        there = ", ".join(plugins.names(GROUP))
        raise TextError(f"no text writer {name!r}: there are {there}") from error
    takes = plugins.options_of(factory, after=1)
    if takes is None:
        return
    for option in options:
        if option not in takes:
            raise TextError(
                f"{option} has no meaning for writer {name}: it takes "
                f"{', '.join(takes) or 'no options'}"
            )
