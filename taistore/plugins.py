"""What other packages add: encoders, image sources and text writers, by name.

A package declares an entry point in one of :data:`GROUPS`, which is imported when it is asked for,
never before; a program calls :func:`register`. What a factory is called with, and what it must
return, is said where it is used: ``encoders.registry``, ``images.sources.open_source`` and
``texts.writers``.
"""

from collections.abc import Callable
from typing import Any, Final

from taistore.errors import PluginError

GROUPS: Final = ("taistore.encoders", "taistore.sources", "taistore.writers")
"""The groups of entry points."""

Factory = Callable[..., Any]

_registered: dict[str, dict[str, Factory]] = {}


def register(group: str, name: str, factory: Factory) -> None:
    """Add ``factory`` under ``name`` for this process; it wins over an installed one.

    Raises :class:`PluginError` for a name that is not made of letters, digits, ``-`` and ``_``.
    """
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise PluginError(
            f"{name!r} cannot name a plugin of {group}: use letters, digits, '-' and '_'"
        )
    _registered.setdefault(group, {})[name] = factory


def names(group: str) -> list[str]:
    """Names that are registered or installed, in order; nothing is imported."""
    from importlib import metadata

    installed = (point.name for point in metadata.entry_points(group=group))
    return sorted({*_registered.get(group, ()), *installed})


def find(group: str, name: str) -> Factory:
    """The factory of a name.

    Raises :class:`PluginError` where there is none, naming those that there are; where two packages
    have one of this name; and where its package cannot be imported, or offers something else.
    """
    from importlib import metadata

    registered = _registered.get(group, {})
    if name in registered:
        return registered[name]
    points = tuple(metadata.entry_points(group=group, name=name))
    if not points:
        there = ", ".join(names(group)) or "none"
        raise PluginError(f"no {name!r} among {group}: there are {there}")
    packages = sorted({point.dist.name if point.dist else "unknown" for point in points})
    if len(packages) > 1:
        raise PluginError(
            f"{name!r} of {group} is in several packages ({', '.join(packages)}): uninstall all "
            "but one"
        )
    try:
        factory: Factory = points[0].load()
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise PluginError(
            f"{name!r} of {group}, from the package {packages[0]}, cannot be imported "
            f"({type(error).__name__}: {said}): mend or uninstall that package"
        ) from error
    if not callable(factory):
        raise PluginError(
            f"{name!r} of {group}, from the package {packages[0]}, is no function or class: mend "
            "or uninstall that package"
        )
    return factory


def call(factory: Factory, /, *arguments: Any, **options: Any) -> Any:
    """Call a factory with those of ``options`` that its signature takes.

    A plugin that has no use for a device or a precision need not mention them.
    """
    import inspect

    parameters = inspect.signature(factory).parameters.values()
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        taken = {p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
        options = {name: value for name, value in options.items() if name in taken}
    return factory(*arguments, **options)
