"""Peers that train nothing, beside the ladder: CoMC's blend, PIAA's discriminant, SPARC, concepts.

``python -m benchmarks.training_free --work FOLDER`` takes halves of ``../shared/data/voc2012`` and
``coco`` (packaged encoder, 7 x 7 regions, 2,000 template texts) and the stand-in for real CLIP
photos of ``benchmarks.stand_in``, which has neither regions nor captions of combinations. What a
peer learns from images it learns from the unlabelled training half, as does our own run. Shapes: S
images, R regions, D embedding dimension, N labels, T texts, K combinations.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import stand_in
from benchmarks.accuracy import SETS, Bench, prepare
from benchmarks.labelled import halve
from benchmarks.report import Table, spread, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.geometry.standardise import standardise
from taistore.scoring.stored_images import stored_batches
from taistore.store.arrow import vector_array
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store

STAND_IN = "stand-in for CLIP"
CONFIDENT = 512
ORDER = 20
"""Combinations of a label whose sorted scores SPARC weighs; labels with fewer have what they have.
"""


@dataclass(frozen=True, slots=True)
class Images:
    """Unit vectors of whole images [S, D] and of their regions [S, R, D], if any; known labels."""

    whole_SD: Tensor
    regions_SRD: Tensor | None
    truth_SN: np.ndarray

    @classmethod
    def read(cls, store: Store, encoder_id: str, split: str) -> "Images":
        """Those of a split."""
        known = PartialLabels.read(store, split=split)
        ids: list[str] = []
        whole, regions = [], []
        for batch in stored_batches(
            store, encoder_id, columns=[], regions=True, where={"split": split}
        ):
            ids += map(str, batch.rows.column("image_id").to_pylist())
            whole.append(torch.from_numpy(batch.whole_BD).float())
            if batch.regions_BRD is not None:
                regions.append(torch.from_numpy(batch.regions_BRD).float())
        return cls(
            normalize(torch.cat(whole), dim=-1),
            normalize(torch.cat(regions), dim=-1) if regions else None,
            known.truth(known.find(ids)),
        )

    def highest(self, score: Callable[[Tensor], Tensor]) -> Tensor:
        """The highest score [S, N] over an image's regions, else that of the whole image."""
        if self.regions_SRD is None:
            return score(self.whole_SD)
        return torch.stack([score(one_RD).amax(dim=0) for one_RD in self.regions_SRD])

    @property
    def parts(self) -> Tensor:
        """All regions [P, D], one after another, else all images."""
        return self.whole_SD if self.regions_SRD is None else self.regions_SRD.flatten(0, 1)


@dataclass(frozen=True, slots=True)
class Setting:
    """What every peer may use: prompts [N, D], texts [T, D] with the combination of each [T] and
    the labels of each combination [K, N], unlabelled images and those that are tested."""

    prompts_ND: Tensor
    texts_TD: Tensor
    combination_T: Tensor
    names_KN: Tensor
    unlabelled: Images
    tested: Images

    @classmethod
    def read(cls, store: Store, encoder_id: str, prompts_ND: np.ndarray) -> "Setting":
        """From a store in halves."""
        index = store.combination_index()
        vectors, rows = [], []
        columns = ["combination_id", "vector"]
        for batch in store.scan("text_vectors", columns=columns, encoder_id=encoder_id):
            vectors.append(vector_array(batch.column("vector")).astype(np.float32))
            rows.append(index.rows(batch.column("combination_id").to_numpy()))
        counts_K = np.diff(index.offsets)
        names_KN = np.zeros((len(index), len(prompts_ND)), bool)
        names_KN[np.repeat(np.arange(len(index)), counts_K), index.label_ids] = True
        return cls(
            torch.from_numpy(prompts_ND),
            normalize(torch.from_numpy(np.concatenate(vectors)), dim=-1),
            torch.from_numpy(np.concatenate(rows)),
            torch.from_numpy(names_KN),
            Images.read(store, encoder_id, "train"),
            Images.read(store, encoder_id, "test"),
        )

    @property
    def combinations(self) -> Tensor:
        """Unit mean [K, D] of the texts of each combination."""
        sums_KD = torch.zeros(len(self.names_KN), self.texts_TD.shape[1])
        return normalize(sums_KD.index_add_(0, self.combination_T, self.texts_TD), dim=-1)


def standardised(setting: Setting) -> Tensor:
    """The ladder's own step: cosines over their deviation, image by image."""
    return standardise(setting.tested.whole_SD @ setting.prompts_ND.T)


def comc(setting: Setting) -> Tensor:
    """CoMC's blend: 0.7 x + 0.3 of the text that an image is nearest to, softly; and by regions.

    The texts are those of the store.
    """

    def score(vectors_BD: Tensor) -> Tensor:
        nearest_BD = torch.softmax(100 * vectors_BD @ setting.texts_TD.T, dim=-1) @ setting.texts_TD
        blended_BD = 0.7 * vectors_BD + 0.3 * normalize(nearest_BD, dim=-1)
        return normalize(blended_BD, dim=-1) @ setting.prompts_ND.T

    return (score(setting.tested.whole_SD) + setting.tested.highest(score)) / 2


def piaa(setting: Setting) -> Tensor:
    """PIAA: a Gaussian discriminant of confident regions of unlabelled images, refitted once.

    Highest probability over an image's regions, with a tenth of zero-shot's for the whole image.
    """
    parts_PD = setting.unlabelled.parts
    discriminant = _gaussian(parts_PD, torch.softmax(60 * parts_PD @ setting.prompts_ND.T, dim=-1))
    discriminant = _gaussian(parts_PD, discriminant(parts_PD))
    whole_SN = torch.softmax(60 * setting.tested.whole_SD @ setting.prompts_ND.T, dim=-1)
    return setting.tested.highest(discriminant) + 0.1 * whole_SN


def _gaussian(parts_PD: Tensor, shares_PN: Tensor) -> Callable[[Tensor], Tensor]:
    """Probabilities by the discriminant of the parts that are surest of a label."""
    labels, dim = shares_PN.shape[1], parts_PD.shape[1]
    entropy_P = torch.special.entr(shares_PN).sum(dim=1)
    best_P = shares_PN.argmax(dim=1)
    kept = [_surest(entropy_P, best_P == label) for label in range(labels)]
    chosen = torch.cat(kept)
    weights_QN = shares_PN[chosen]
    chosen_QD = parts_PD[chosen]
    means_ND = weights_QN.T @ chosen_QD / weights_QN.sum(dim=0).clamp_min(1e-12)[:, None]
    centred_QD = chosen_QD - means_ND[best_P[chosen]]
    count = len(chosen)
    covariance_DD = centred_QD.T @ centred_QD / max(count - 1, 1)
    regular_DD = (count - 1) * covariance_DD + covariance_DD.trace() * torch.eye(dim)
    inverse_DD = dim * torch.linalg.pinv(regular_DD.double(), hermitian=True).float()
    weights_ND = means_ND @ inverse_DD
    bias_N = np.log(1 / labels) - 0.5 * (weights_ND * means_ND).sum(dim=1)
    return lambda vectors_BD: torch.softmax(vectors_BD @ weights_ND.T + bias_N, dim=-1)


def _surest(entropy_P: Tensor, mine_P: Tensor) -> Tensor:
    rows = torch.nonzero(mine_P).flatten()
    return rows[entropy_P[rows].argsort()[:CONFIDENT]]


def sparc(setting: Setting) -> Tensor:
    """SPARC: sorted scores of a label's combinations, weighed by their first principal component.

    The component is that of the unlabelled images, frozen; averaged with the standardised score.
    """
    seen = _sorted(setting, setting.unlabelled.whole_SD).flatten(0, 1)
    centred = seen - seen.mean(dim=0)
    component = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    component = component * component.sum().sign()
    mine_SNO = _sorted(setting, setting.tested.whole_SD)
    compound_SN = mine_SNO @ (component / component.sum())
    return (standardised(setting) + standardise(compound_SN)) / 2


def _sorted(setting: Setting, vectors_SD: Tensor) -> Tensor:
    """The highest scores [S, N, ORDER] of the combinations that hold a label, in falling order.

    A label of fewer combinations repeats its lowest.
    """
    scores_SK = standardise(vectors_SD @ setting.combinations.T)
    found = []
    for holds_K in setting.names_KN.T:
        own_SK = scores_SK[:, holds_K].sort(dim=1, descending=True).values[:, :ORDER]
        lacking = ORDER - own_SK.shape[1]
        found.append(torch.cat([own_SK, own_SK[:, -1:].expand(-1, lacking)], dim=1))
    return torch.stack(found, dim=1)


def concept(setting: Setting) -> Tensor:
    """A label's vector is the mean of the texts that hold it."""
    holds_TN = setting.names_KN[setting.combination_T].float()
    concepts_ND = normalize(holds_TN.T @ setting.texts_TD, dim=-1)
    return standardise(setting.tested.whole_SD @ concepts_ND.T)


PEERS = {
    "CoMC's blend": comc,
    "PIAA's discriminant": piaa,
    "SPARC": sparc,
    "class concept": concept,
}
STEPS = ("zero_shot", "standardised", "discriminant", "adapter", "ensemble")


def figures(setting: Setting, ladder: dict[str, float]) -> dict[str, float]:
    """mAP in percent of the ladder's steps, of every peer, and of each with zero-shot."""
    found = dict(ladder)
    plain_SN = standardised(setting)
    for name, peer in PEERS.items():
        scores_SN = peer(setting)
        found[name] = _percent(scores_SN, setting)
        found[f"{name}, with standardised zero-shot"] = _percent(
            standardise(scores_SN) + plain_SN, setting
        )
    return found


def _percent(scores_SN: Tensor, setting: Setting) -> float:
    precision_N = average_precision(scores_SN.numpy(), setting.tested.truth_SN)
    return 100 * mean_average_precision(precision_N)


def our_ladder(
    store: Store, encoder_id: str, prompts_ND: np.ndarray, seed: int
) -> dict[str, float]:
    """mAP in percent of the steps of our default run, which sees the training half unlabelled."""
    config = TrainConfig(split="train", seed=seed)
    run = train(store, encoder_id, config, prompts_ND=prompts_ND)
    found = evaluate(store, run.run_id, split="test").to_json()["ladder"]
    return {step: found[step]["mAP"] for step in STEPS}


def photo_figures(bench: Bench, seed: int) -> dict[str, float]:
    """Those of one set of photos, halved by the seed."""
    store = bench.stores[0]
    halve(store, seed)
    ladder = our_ladder(store, bench.encoder_id, bench.prompts_ND, seed)
    return figures(Setting.read(store, bench.encoder_id, bench.prompts_ND), ladder)


def stand_in_figures(data: Path, folder: Path, seed: int) -> dict[str, float]:
    """Those of the stand-in that is drawn by the seed."""
    project = stand_in.make(data, folder / f"seed{seed}", images=1000, seed=seed)
    encoder_id, prompts_ND = project.encoder_info().encoder_id, project.label_prompts()
    ladder = our_ladder(project.store, encoder_id, prompts_ND, seed)
    return figures(Setting.read(project.store, encoder_id, prompts_ND), ladder)


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2_000)
    options = parser.parse_args()
    encoder = load_encoder("packaged")
    found: dict[str, list[dict[str, float]]] = {}
    for name in SETS:
        bench = prepare(name, options.data, options.work, encoder, seeds=1, texts=options.texts)
        found[SETS[name]] = [photo_figures(bench, seed) for seed in range(options.seeds)]
    found[STAND_IN] = [
        stand_in_figures(options.data, options.work / "stand-in", seed)
        for seed in range(options.seeds)
    ]
    rows = [
        [what, *(spread([one[what] for one in seeds]) for seeds in found.values())]
        for what in found[STAND_IN][0]
    ]
    path = write_report(
        "training-free",
        title="Peers that train nothing, beside the ladder",
        text=(
            f"Macro mAP in percent on the test half, mean ± deviation over {options.seeds} halves; "
            f"packaged encoder and {options.texts:,} template texts for the photos. The stand-in "
            "has one text a label and no regions. `discriminant`, `adapter` and `ensemble` are "
            "those of our default run; no label of any image is read."
        ),
        tables=[Table(["", *found], rows)],
    )
    print(path)


if __name__ == "__main__":
    main()
