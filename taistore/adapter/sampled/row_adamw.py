"""AdamW that moves only the rows of a step, and lets the others catch up when their turn comes.

A row without a gradient still moves under AdamW: its moments decay, and it goes on along the first
of them. That is a closed form in the steps that it missed, so that it is done at once when the row
is next looked at. N labels, R rows of a step, K width of a weight.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from taistore.adapter.optimizer import (
    EPSILON,
    SECOND_BETA,
    AdamW,
    Moments,
    first_moments,
    one_cycle,
)
from taistore.adapter.sampled.rooms import Rooms

_TOUCHED = "steps_of_rows"
_READ_ROWS = 1024
_CACHED_BYTES = 2**19
"""Of each table and moment at a time: with a gradient and room they fill a processor's cache."""


class MissedSteps:
    """What the steps of a 1-cycle do to a row that has no gradient in them.

    AdamW's steps t … T - 1 with gradients of zero multiply the first moment m by the product of
    the first betas, the second v by ``SECOND_BETA ** (T - t)``, and move the weight by ``-c m /
    sqrt(v + e^2)``. c is the sum over those steps of the learning rate (bias corrected) times the
    product of ``beta / sqrt(SECOND_BETA)`` up to there, here as a difference of two sums to the
    end of the training. Two things are not exact: ``EPSILON`` is taken as falling like sqrt(v), and
    the weight decay as coming first, so that what a row moves while it waits is too long by the
    share that would decay meanwhile: 0.1 % for 100 steps at the default rates.
    """

    def __init__(self, total: int, *, lr: float, weight_decay: float) -> None:
        steps = np.arange(1, total + 1)
        rates = np.array([one_cycle(step, total, lr) for step in range(total)]).reshape(-1, 2)
        lr_T, beta_T = rates[:, 0], rates[:, 1]
        second_T = np.sqrt(1 - SECOND_BETA**steps)
        stride_T = lr_T * second_T / (1 - beta_T**steps)
        ratio_T = beta_T / math.sqrt(SECOND_BETA)
        ahead = np.zeros(total + 1)
        for step in range(total - 1, -1, -1):
            ahead[step] = ratio_T[step] * (stride_T[step] + ahead[step + 1])
        self._ahead = ahead
        self._log_beta = _summed(np.log(beta_T))
        self._log_ratio = _summed(np.log(ratio_T))
        self._log_decay = _summed(np.log1p(-lr_T * weight_decay))
        self._epsilon = np.concatenate([[1.0], second_T]) * EPSILON

    def factors(self, done_R: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        """For rows at ``done_R`` steps, to be brought to ``step``: [5, R].

        In order: factors of the first and the second moment and of the weight, the c and the e of
        this class.
        """
        passed_R = np.exp(self._log_ratio[step] - self._log_ratio[done_R])
        return np.stack(
            [
                np.exp(self._log_beta[step] - self._log_beta[done_R]),
                SECOND_BETA ** (step - done_R).astype(np.float64),
                np.exp(self._log_decay[step] - self._log_decay[done_R]),
                self._ahead[done_R] - passed_R * self._ahead[step],
                self._epsilon[done_R],
            ]
        )


class RowAdamW(AdamW):
    """AdamW whose ``tables`` [N, K] are moved by rows, all of them by the same ones.

    The other weights of the network are moved whole, as by :class:`AdamW`. What a table's row comes
    to is what AdamW makes of it with gradients of zero wherever it has none, but for what
    :class:`MissedSteps` says.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        weight_decay: float,
        tables: Iterable[str],
        missed: MissedSteps,
        rooms: Rooms,
    ) -> None:
        super().__init__(network, weight_decay=weight_decay)
        self.tables = {name: self.weights.pop(name) for name in tables}
        first = next(iter(self.tables.values()))
        self._done_N = torch.zeros(len(first), dtype=torch.int64)
        self._missed = missed
        for name, table in self.tables.items():
            self.moments[name] = first_moments(table.detach())
        self._rooms = rooms
        cached = _CACHED_BYTES // (4 * max(table.shape[1] for table in self.tables.values()))
        # On a GPU all rows at once.
        self._block = max(1, cached) if first.device.type == "cpu" else len(first)
        self._rows: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def rows(self, labels_R: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """The tables' rows [R, K] as they are before ``step``, until the next call.

        ``labels_R`` int64 [R], each once: what :meth:`move_rows` moves. Nothing is written yet.
        """
        factors = self._missed.factors(self._done_N[labels_R.cpu()].numpy(), step)
        columns = torch.from_numpy(factors.astype(np.float32)).to(labels_R.device)[:, :, None]
        for name, table in self.tables.items():
            known, size = self.moments[name], len(labels_R)
            held = (table, known.first, known.second)
            places = (f"{name} {place}" for place in range(3))
            weight, first, second = (self._rooms.take(place, table, size) for place in places)
            moves = self._rooms.take(f"{name} moves", table, min(size, self._block))
            for some in self._blocks(size):
                taken = (weight[some], first[some], second[some])
                for values, room in zip(held, taken, strict=True):
                    torch.index_select(values, 0, labels_R[some], out=room)
                _catch_up(*taken, columns[:, some], room=moves[: len(taken[0])])
            self._rows[name] = (weight, first, second)
        return {name: rows[0] for name, rows in self._rows.items()}

    @torch.no_grad()
    def move_rows(
        self,
        labels_R: torch.Tensor,
        gradients: Mapping[str, torch.Tensor],
        step: int,
        *,
        lr: float,
        momentum: float,
    ) -> None:
        """Move the rows that :meth:`rows` gave by their gradients [R, K], and write them."""
        for name, rows in self._rows.items():
            for some in self._blocks(len(labels_R)):
                weight, first, second = (values[some] for values in rows)
                done = torch.tensor(float(step), device=labels_R.device)
                self.fused(
                    [weight],
                    [gradients[name][some]],
                    [Moments(first, second, done)],
                    lr=lr,
                    momentum=momentum,
                )
                self._write(name, labels_R[some], (weight, first, second))
        self._done_N[labels_R.cpu()] = step + 1

    @torch.no_grad()
    def catch_up(self, step: int) -> None:
        """Bring every row to ``step``: before the tables are read by anything else."""
        device = next(iter(self.tables.values())).device
        for labels_R in torch.split(torch.arange(len(self._done_N), device=device), _READ_ROWS):
            self.rows(labels_R, step)
            for name, rows in self._rows.items():
                self._write(name, labels_R, rows)
            self._done_N[labels_R.cpu()] = step

    def tensors(self) -> dict[str, torch.Tensor]:
        """Both moments of every weight, and how many steps each row has behind it, int64 [N]."""
        return {**super().tensors(), _TOUCHED: self._done_N}

    def put_back(self, tensors: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """Moments after so many steps, on the devices of the weights."""
        whole = self.weights
        self.weights = {**whole, **self.tables}
        super().put_back(tensors, steps=steps)
        self.weights = whole
        self._done_N = tensors[_TOUCHED].clone()

    def _blocks(self, rows: int) -> Iterator[slice]:
        return (slice(low, min(low + self._block, rows)) for low in range(0, rows, self._block))

    def _write(self, name: str, labels_R: torch.Tensor, rows: tuple[torch.Tensor, ...]) -> None:
        known = self.moments[name]
        held = (self.tables[name].detach(), known.first, known.second)
        for values, new in zip(held, rows, strict=True):
            if values.device.type == "cpu":
                # A row at a time: index_copy_ goes by elements, and takes twice as long.
                values.numpy()[labels_R.numpy()] = new.numpy()
            else:
                values.index_copy_(0, labels_R, new)


def _catch_up(
    weight_RK: torch.Tensor,
    first_RK: torch.Tensor,
    second_RK: torch.Tensor,
    factors_5R1: torch.Tensor,
    *,
    room: torch.Tensor,
) -> None:
    """Bring rows to a step by what :meth:`MissedSteps.factors` says, in place."""
    first_R1, second_R1, decay_R1, along_R1, epsilon_R1 = factors_5R1
    # Within the root: torch's root of 0, which a row without a gradient has, takes five times that
    # of another number, and where it matters the gradients are smaller than 1e-8.
    moves_RK = torch.add(second_RK, epsilon_R1.square(), out=room).rsqrt_()
    moves_RK.mul_(first_RK).mul_(along_R1)
    weight_RK.mul_(decay_R1).sub_(moves_RK)
    first_RK.mul_(first_R1)
    second_RK.mul_(second_R1)


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, 2, … values."""
    return np.concatenate([[0.0], np.cumsum(values)])
