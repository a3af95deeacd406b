"""Optional dependencies: named in one line, with the command that installs them."""

import importlib
from types import ModuleType

from taistore.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` or raise :class:`MissingExtraError` naming the extra that brings it.

    >>> require("json", extra="offline", purpose="nothing").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.split(".", maxsplit=1)[0] != error.name.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package '{module}', which is not installed: "
            f"pip install 'taistore[{extra}]'"
        ) from error
