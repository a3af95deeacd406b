from typing import Any


def write_token_vectors(store: Any, encoder: Any, *, progress: Any) -> None:
    raise NotImplementedError
