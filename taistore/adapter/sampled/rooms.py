"""Memory that a training keeps from step to step."""

import torch


class Rooms:
    """Room for the rows of a step, by name.

    Large blocks that are asked for anew in every step come as new pages, and filling these costs
    more than the arithmetic that is done in them.
    """

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def take(self, name: str, like_NK: torch.Tensor, rows: int) -> torch.Tensor:
        """Room [rows, K] of the kind of ``like_NK``, with anything in it, until the next call."""
        held = self._held.get(name)
        if held is None or len(held) < rows:
            held = like_NK.new_empty(rows + rows // 4, like_NK.shape[1], requires_grad=False)
            self._held[name] = held
        return held[:rows]
