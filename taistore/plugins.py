"""What other packages add to taistore: writers, encoders, sources, each by a name in a group.

A package adds something by an entry point of its ``pyproject.toml``; a program adds it for itself
by :func:`register`, which comes first. An entry point is imported when it is asked for, never
before.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from taistore.errors import PluginError

Factory = Callable[..., Any]

_registered: dict[str, dict[str, Factory]] = {}


def register(group: str, name: str, factory: Factory) -> None:
    """Add a factory to a group for this process, in front of entry points of that name."""
    _registered.setdefault(group, {})[name] = factory


def names(group: str) -> list[str]:
    """Every name of a group, ascending; nothing is imported for it."""
    return sorted({*_registered.get(group, ()), *(point.name for point in _points(group))})


def find(group: str, name: str) -> Factory:
    """The factory of that name.

    Raises :class:`PluginError` in one line where there is none, naming those that there are, and
    where the package that offers it cannot be imported, naming the package.
    """
    registered = _registered.get(group, {})
    if name in registered:
        return registered[name]
    for point in _points(group):
        if point.name == name:
            return _loaded(point)
    raise PluginError(f"no {name!r} among {group}: there are {', '.join(names(group)) or 'none'}")


def _points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _loaded(point: EntryPoint) -> Factory:
    package = point.dist.name if point.dist is not None else point.module
    remedy = f"mend the package {package!r}, or uninstall it"
    try:
        factory = point.load()
    except Exception as error:  # whatever a stranger's module raises while it is imported
        said = " ".join(str(error).split())[:200]
        raise PluginError(
            f"{point.group} {point.name!r} cannot be imported from {point.value} "
            f"({type(error).__name__}: {said}): {remedy}"
        ) from error
    if not callable(factory):
        raise PluginError(f"{point.group} {point.name!r}: {point.value} is no function: {remedy}")
    made: Factory = factory
    return made
