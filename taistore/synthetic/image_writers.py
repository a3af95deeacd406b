"""Image writers by name: taistore's own, and those that other packages add."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from taistore import plugins
from taistore.errors import PluginError, SyntheticError
from taistore.synthetic.image_writer import ImageWriter
from taistore.synthetic.plugin_image_writer import GROUP, PluginImageWriter
from taistore.synthetic.writers.diffusers_writer import diffusers_writer
from taistore.synthetic.writers.folder_writer import folder_writer
from taistore.synthetic.writers.openai_images import openai_images_writer

plugins.register(GROUP, "diffusers", diffusers_writer)
plugins.register(GROUP, "folder", folder_writer)
plugins.register(GROUP, "openai", openai_images_writer)


@contextlib.contextmanager
def open_image_writer(name: str, **options: Any) -> Iterator[ImageWriter]:
    """The writer of that name, open while the block runs.

    ``options`` are the writer's own, by keyword. Raises :class:`SyntheticError` where there is no
    such writer, where an option is not one of its own, and whatever opening it raises;
    :class:`PluginError` where another package's fails or gives no :class:`ImageWriter`.
    """
    check_image_options(name, options)
    made = plugins.make(GROUP, name, **options)
    with contextlib.ExitStack() as stack:
        if isinstance(made, AbstractContextManager):
            with plugins.blame(GROUP, name, "cannot be opened"):
                made = stack.enter_context(made)
        plugins.require(GROUP, name, made, ImageWriter)
        yield made if plugins.ours(GROUP, name) else PluginImageWriter(name, made)


def takes_device(name: str) -> bool:
    """Whether a writer works on a device that can be chosen."""
    return "device" in (plugins.options_of(plugins.find(GROUP, name)) or ())


def check_image_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`SyntheticError` where a writer does not exist or does not take an option."""
    try:
        factory: Callable[..., Any] = plugins.find(GROUP, name)
    except PluginError as error:
        if name in plugins.names(GROUP):
            raise
        there = ", ".join(plugins.names(GROUP))
        raise SyntheticError(f"no image writer {name!r:.80}: there are {there}") from error
    takes = plugins.options_of(factory)
    if takes is None:
        return
    for option in options:
        if option not in takes:
            raise SyntheticError(
                f"{option} has no meaning for writer {name}: it takes "
                f"{', '.join(takes) or 'no options'}"
            )
