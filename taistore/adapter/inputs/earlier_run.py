"""A training that goes on from a run: labels that both have keep the weights that they had there.

N labels, D embedding dimension, H hidden width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.network import AdapterNetwork, FeedForward, NetworkShape, Residual
from taistore.adapter.run_files.checkpoint import Adapter, load_adapter
from taistore.adapter.run_files.run_folder import run_folder
from taistore.errors import TrainingError
from taistore.store.store import Store


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A finished adapter; ``rows`` [N] are the places of the labels in it, -1 for new ones."""

    adapter: Adapter
    rows: NDArray[np.int64]

    @property
    def scale(self) -> float | None:
        """What the residual network multiplies cosines by; None of another network."""
        network = self.adapter.network
        return float(network.scale) if isinstance(network, Residual) else None

    @torch.no_grad()
    def hand_on(self, network: AdapterNetwork) -> None:
        """Give a network of the same shape, but for the labels, its weights.

        Rows of new labels stay as they are: in the residual network as zero-shot.
        """
        mine = self.adapter.network
        if isinstance(network, Residual) and isinstance(mine, Residual):
            network.shared.copy_(mine.shared)
            network.scale.copy_(mine.scale)
            self._rows(mine.linear, network.linear)
            if network.layers is not None and mine.layers is not None:
                self._layers(mine.layers, network.layers)
        elif isinstance(network, FeedForward) and isinstance(mine, FeedForward):
            self._layers(mine, network)

    def _layers(self, mine: FeedForward, theirs: FeedForward) -> None:
        own = dict(mine.named_parameters())
        for name, value in theirs.named_parameters():
            if not name.startswith("last."):
                value.copy_(own[name])
        self._rows(mine.last, theirs.last)

    def _rows(self, mine: torch.nn.Linear, theirs: torch.nn.Linear) -> None:
        old = torch.from_numpy(np.flatnonzero(self.rows >= 0)).to(theirs.weight.device)
        rows = torch.from_numpy(self.rows[self.rows >= 0])
        theirs.weight[old] = mine.weight[rows].to(theirs.weight)
        theirs.bias[old] = mine.bias[rows].to(theirs.bias)


def earlier_run(store: Store, run_id: str, shape: NetworkShape, *, encoder_id: str) -> EarlierRun:
    """The run to begin with, for the labels that ``store`` is read with.

    Raises :class:`TrainingError` where it is no finished adapter of this encoder and network, or
    has none of the labels.
    """
    row = store.run(run_id)
    if row.status != "finished":
        raise TrainingError(
            f"run {row.run_id} is not finished: finish it with 'taistore train --resume "
            f"{row.run_id}', or leave from_run= out"
        )
    adapter = load_adapter(run_folder(store, row.run_id))
    card = adapter.card
    theirs = (card.shape.network, card.shape.dim, card.shape.hidden)
    if card.encoder.encoder_id != encoder_id or theirs != (shape.network, shape.dim, shape.hidden):
        raise TrainingError(
            f"run {row.run_id} is of {card.encoder.spec} and network {card.shape.network}, hidden "
            f"{card.shape.hidden}: begin with one of the encoder, network and hidden= of this "
            "training, or leave from_run= out"
        )
    place = {key: n for n, key in enumerate(card.label_keys)}
    rows = np.array([place.get(key, -1) for key in store.labels.keys], dtype=np.int64)
    if (rows < 0).all():
        raise TrainingError(
            f"run {row.run_id} has none of these labels: leave from_run= out, and train anew"
        )
    return EarlierRun(adapter, rows)
