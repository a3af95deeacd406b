"""Where a server is and what key it gets; nothing that is secret may stand in a base URL."""

import os
import string
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from taistore.errors import TextError

KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a server is: ``https://host:port/prefix`` taken apart, in the ASCII that is sent."""

    secure: bool
    host: str
    port: int | None
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Read a base URL; raises :class:`TextError` without repeating what may be a secret."""
        try:
            parts = urlsplit(url.strip())
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError as error:
            raise TextError(
                "the base URL is not a URL; it looks like http://host:8000/v1"
            ) from error
        if parts.username is not None or parts.password is not None:
            raise TextError(
                f"the base URL of {host} holds a user name or password; leave it out and put the "
                f"key into the environment variable {KEY_VARIABLE}"
            )
        if parts.query or parts.fragment:
            raise TextError(f"the base URL of {host} must end before '?' and '#'")
        blank = any(c <= " " for c in host + parts.path)
        if parts.scheme not in ("http", "https") or not host or blank:
            raise TextError("the base URL must look like http://host:8000/v1")
        prefix = quote(parts.path.rstrip("/"), safe=string.punctuation)
        return cls(secure=parts.scheme == "https", host=host, port=port, prefix=prefix)

    @property
    def authority(self) -> str:
        """``host:port`` as a URL and the header ``Host`` write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.prefix}"


def key_from_environment() -> str:
    """The key in ``OPENAI_API_KEY`` or "" (local servers need none)."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise TextError(
            f"the key in {KEY_VARIABLE} holds spaces or characters that keys never have"
        )
    return key
