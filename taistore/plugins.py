"""What other packages add: encoders, image sources, writers of texts and of images, by name.

A package declares an entry point in one of :data:`GROUPS`, which is imported when it is asked for,
never before; a program calls :func:`register`. What a factory is called with, and what it must
return, is said where it is used: ``encoders.registry``, ``images.sources.open_source``,
``texts.writers`` and ``synthetic.image_writers``. These run a plugin's code under :func:`blame`, so
that what it raises is one line that names the plugin.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from taistore.errors import PluginError, TaistoreError

GROUPS: Final = (
    "taistore.encoders",
    "taistore.sources",
    "taistore.writers",
    "taistore.image_writers",
)
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
    with blame(group, name, "cannot be imported"):
        factory: Factory = points[0].load()
    if not callable(factory):
        raise wrong(group, name, "is no function or class")
    return factory


def make(group: str, name: str, /, *arguments: Any, **options: Any) -> Any:
    """What the factory of a name returns for ``arguments`` and those of ``options`` that it takes.

    Raises :class:`PluginError` where there is no such factory, or where it fails.
    """
    factory = find(group, name)
    with blame(group, name, "cannot be loaded"):
        return call(factory, *arguments, **options)


def call(factory: Factory, /, *arguments: Any, **options: Any) -> Any:
    """Call a factory with those of ``options`` that its signature takes.

    A plugin that has no use for a device or a precision need not mention them.
    """
    taken = options_of(factory)
    if taken is not None:
        options = {name: value for name, value in options.items() if name in taken}
    return factory(*arguments, **options)


def options_of(factory: Factory, *, after: int = 0) -> list[str] | None:
    """Names of what a factory takes by keyword, but for its first ``after`` parameters.

    None where it takes any, and where that cannot be told, as of some functions written in C.
    """
    import inspect

    try:
        parameters = list(inspect.signature(factory).parameters.values())[after:]
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    unnamed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.kind not in unnamed]


def require(group: str, name: str, made: object, protocol: type) -> None:
    """Raise :class:`PluginError` where what a plugin made lacks an attribute of its protocol."""
    members = [m for m in vars(protocol) if not m.startswith("_") or m == "__iter__"]
    with blame(group, name, "cannot be loaded"):
        lacking = [m for m in members if not hasattr(made, m)]
    if isinstance(made, type):
        raise wrong(group, name, f"gave the class {made.__name__} instead of an object of it")
    if lacking:
        raise wrong(
            group,
            name,
            f"gave a {type(made).__name__}, which is no {protocol.__name__} (it lacks "
            f"{', '.join(lacking)})",
        )


@contextmanager
def blame(group: str, name: str, what: str) -> Iterator[None]:
    """Turn what a plugin raises into a :class:`PluginError`; ``what`` says that it failed at.

    A plugin's own :class:`TaistoreError` says it better and passes, as does what taistore's own
    factories raise: those are no plugins.
    """
    try:
        yield
    except TaistoreError:
        raise
    except Exception as error:
        if ours(group, name):
            raise
        said = " ".join(str(error).split())[:200]
        raise wrong(group, name, f"{what} ({type(error).__name__}: {said})") from error


def wrong(group: str, name: str, what: str) -> PluginError:
    """The error that ``what`` is wrong with a plugin: one line with where it is from."""
    from importlib import metadata

    if name in _registered.get(group, {}):
        return PluginError(f"{name!r} of {group}, registered by this program, {what}: mend it")
    points = metadata.entry_points(group=group, name=name)
    package = next((p.dist.name for p in points if p.dist), "unknown")
    return PluginError(
        f"{name!r} of {group}, from the package {package}, {what}: mend or uninstall that package"
    )


def ours(group: str, name: str) -> bool:
    """Whether a name stands for a factory of taistore itself."""
    module = getattr(_registered.get(group, {}).get(name), "__module__", None)
    return str(module).partition(".")[0] == "taistore"
