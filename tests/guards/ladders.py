"""What is trained and evaluated on a set of real vectors, and how far its figures have moved."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.train import train
from taistore.evaluation.evaluate import evaluate
from taistore.store.store import Store
from tests.guards.vector_set import SPLIT

FOLDER = Path(__file__).resolve().parent
RECORDED = FOLDER / "recorded.json"

MOST = 0.3
"""How far a figure may lie from the recorded one: mAP in percent, or percent of a length."""

SETTINGS = {
    "zsl": TrainConfig(task="zsl", shift="neighbours"),
    "zsl, texts alone": TrainConfig(task="zsl", shift="none"),
    # The photos that are learnt from are also those that are evaluated on, which is no claim about
    # the method: there are too few to divide, and a constant shows on these as well.
    "fsl": TrainConfig(task="fsl", shots=2, split=SPLIT),
    "pll": TrainConfig(task="pll", known=0.2, split=SPLIT),
    "pll, paper": TrainConfig.paper(task="pll", known=0.2, split=SPLIT, epochs=4, lr=4e-4),
    "zsl, small": TrainConfig.paper(network="small", task="zsl", shift="none", epochs=20),
}

Figures = dict[str, dict[str, float]]
"""In percent, by setting and name: the mAP of every rung, and how far vectors were moved.

``offsets`` is the mean length of the shift, ``radius`` and ``image_radius`` those of the noise, all
of the mean length of the texts: constants may move them by a third before any rung of so few photos
moves.
"""


def figures(store: Store, encoder_id: str, prompts_ND: NDArray[Any]) -> Figures:
    """Train and evaluate every setting on a store; its run is of seed 0."""
    found: Figures = {}
    for name, config in SETTINGS.items():
        run = train(store, encoder_id, config, prompts_ND=prompts_ND)
        done = evaluate(store, run.run_id, split=SPLIT)
        ladder = done.to_json()["ladder"]
        rungs = {step: float(of["mAP"]) for step, of in ladder.items()}
        card = load_adapter(run.checkpoint).card
        lengths = {
            "offsets": float(run.shift.get("mean_offset_norm", 0.0)),
            "radius": card.radius,
            "image_radius": card.image_radius or 0.0,
        }
        moves = {part: 100 * length / card.mean_text_norm for part, length in lengths.items()}
        found[name] = {part: round(figure, 2) for part, figure in (rungs | moves).items()}
    return found


def recorded(name: str) -> Figures:
    """The figures of a set as they were written down; none where they never were."""
    return _read().get(name, {})


def record(name: str, found: Figures) -> None:
    """Write down the figures of a set, beside those of other sets."""
    text = json.dumps({**_read(), name: found}, indent=2, sort_keys=True)
    RECORDED.write_text(text + "\n", encoding="utf-8")


def moved(before: Mapping[str, Mapping[str, float]], now: Figures) -> list[str]:
    """One line for each figure that is new, gone or more than :data:`MOST` away, worst first."""
    lines: list[tuple[float, str]] = []
    rungs = {(s, r) for part in (before, now) for s, ladder in part.items() for r in ladder}
    for setting, rung in sorted(rungs):
        old, new = before.get(setting, {}).get(rung), now.get(setting, {}).get(rung)
        if old is None or new is None:
            lines.append((float("inf"), f"{setting}: {rung} {old} -> {new}"))
        elif not abs(new - old) <= MOST:
            lines.append((abs(new - old), f"{setting}: {rung} {old} -> {new} ({new - old:+.2f})"))
    return [line for _, line in sorted(lines, key=lambda pair: (-pair[0], pair[1]))]


def _read() -> dict[str, Figures]:
    if not RECORDED.exists():
        return {}
    found: dict[str, Figures] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found
