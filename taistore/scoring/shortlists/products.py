"""Scores of all labels, roughly: products in a fast type, block by block.

Cosines are taken with prompts less their mean: all cosines of CLIP lie near 0.2, and bfloat16 has
eight bits. What that takes from all labels of an image alike is given back in ``levels``.
Shapes: B images, V vectors of each (the whole first, then its regions), D embedding dimension, F
features, N labels, P labels filled up to a multiple of :data:`FOLD`.
"""

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as nn_f
from torch import Tensor

from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.scoring.ladders.last_layer import LastLayer

Part = Literal["cosines", "logits", "discriminant"]
"""What scores are made of. Logits are in units of ``spread``."""

FOLD = 16

_SAME_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


@dataclass(frozen=True, slots=True)
class Vectors:
    """Raw vectors of images with what the parts are products of, float32.

    ``unit_RD`` and ``features_RF`` have a row for each vector of each image, the whole one first.
    """

    images: int
    unit_RD: Tensor
    features_RF: Tensor | None

    @classmethod
    def of(cls, raw_BVD: Tensor, layer: LastLayer | None) -> "Vectors":
        """From raw float32 vectors [B, V, D]."""
        raw_RD = raw_BVD.reshape(-1, raw_BVD.shape[2])
        features = None if layer is None else layer.features(raw_RD)
        return cls(len(raw_BVD), nn_f.normalize(raw_RD, dim=1), features)

    def rows(self, rows_b: Tensor) -> "Vectors":
        """Those of these images alone."""
        parts = (self.unit_RD, self.features_RF)
        unit_RD, features_RF = (
            None if one is None else one.view(self.images, -1, one.shape[1])[rows_b].flatten(0, 1)
            for one in parts
        )
        assert unit_RD is not None, "every vector has one"
        return Vectors(len(rows_b), unit_RD, features_RF)


class Products:
    """The weights of the parts in the fast type, and as they are."""

    def __init__(
        self,
        prompts_ND: Tensor,
        layer: LastLayer | None,
        discriminant: Discriminant | None,
        *,
        spread: float,
        kind: torch.dtype,
    ) -> None:
        self.labels = len(prompts_ND)
        self.filled = -(-self.labels // FOLD) * FOLD
        self.kind = kind
        self._prompts_ND = prompts_ND
        self._mean_D = prompts_ND.mean(dim=0)
        centred_ND = prompts_ND - self._mean_D
        self._fast_prompts_PD = self._fast(centred_ND)
        self._grams: dict[Part, Tensor] = {"cosines": self._gram(centred_ND)}
        self.layer = layer
        self._discriminant = discriminant
        if layer is not None:
            self._spread = spread
            self._bias_N = layer.bias_N / spread
            self._scale = layer.scale / spread
            self._fast_weights_PF = self._fast(layer.weights_NF / spread)
            self._fast_bias_P = self._fast((self._bias_N - self._bias_N.mean())[:, None])[:, 0]
        if discriminant is not None:
            self._mean_weights_D = discriminant.weights_ND.mean(dim=0)
            centred_ND = discriminant.weights_ND - self._mean_weights_D
            self._fast_discriminant_PD = self._fast(centred_ND)
            self._grams["discriminant"] = self._gram(centred_ND)
            bias_N = discriminant.bias_N - discriminant.bias_N.mean()
            self._fast_discriminant_bias_P = self._fast(bias_N[:, None])[:, 0]

    def _fast(self, values_NF: Tensor) -> Tensor:
        """In the fast type, filled up with rows of zeros."""
        return nn_f.pad(values_NF, (0, 0, 0, self.filled - self.labels)).to(self.kind)

    def _gram(self, centred_ND: Tensor) -> Tensor:
        return (centred_ND.T @ centred_ND / self.labels).to(self.kind)

    def rounded_off(self, vectors: Vectors, part: Part) -> Tensor | float:
        """What a part's variance over the labels lost as the vectors were rounded: [B].

        To first order, 2 (x - r) G r for x rounded to r, with the labels' second moments G. Not of
        regions, whose maxima have no such form, nor of logits, which no ranking divides by.
        """
        gram_DD = self._grams.get(part)
        if gram_DD is None or len(vectors.unit_RD) > vectors.images:
            return 0.0
        rounded_RD = vectors.unit_RD.to(self.kind)
        lost_RD = vectors.unit_RD - rounded_RD.float()
        return 2 * (lost_RD * (rounded_RD @ gram_DD).float()).sum(dim=1)

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers."""
        given = [self._fast_prompts_PD]
        if self.layer is not None:
            given += [self._fast_weights_PF, self._fast_bias_P]
        if self._discriminant is not None:
            given += [self._fast_discriminant_PD, self._fast_discriminant_bias_P]
        return all(bool(one.isfinite().all()) for one in given)

    def levels(self, vectors: Vectors, part: Part) -> Tensor:
        """What :meth:`rough` leaves out of a part, the same for all labels of an image: [B]."""
        whole_BD = vectors.unit_RD.view(vectors.images, -1, vectors.unit_RD.shape[1])[:, 0]
        if part == "cosines":
            return whole_BD @ self._mean_D
        if part == "logits":
            return self._scale * (whole_BD @ self._mean_D) + self._bias_N.mean()
        assert self._discriminant is not None, "there is the part"
        return whole_BD @ self._mean_weights_D + self._discriminant.bias_N.mean()

    def rough(
        self, vectors: Vectors, parts: tuple[Part, ...], out: Mapping[Part, Tensor]
    ) -> dict[Part, Tensor]:
        """Parts [B, P] in the fast type, less their levels; ``out`` has room [>= B V, P] for each.

        Columns from N on are without meaning.
        """
        rows = len(vectors.unit_RD)
        made: dict[Part, Tensor] = {}
        unit_RD = vectors.unit_RD.to(self.kind)
        cosines_RP = out["cosines"][:rows]
        if "cosines" in parts or ("logits" in parts and self._scale):
            self._product(vectors, unit_RD, self._fast_prompts_PD, self._mean_D, cosines_RP)
            made["cosines"] = cosines_RP
        if "logits" in parts:
            assert vectors.features_RF is not None, "there is the part"
            features_RF = vectors.features_RF.to(self.kind)
            logits_RP = out["logits"][:rows]
            if self._scale:
                torch.add(self._fast_bias_P, cosines_RP, alpha=self._scale, out=logits_RP)
            else:
                logits_RP.copy_(self._fast_bias_P.expand(rows, -1))
            made["logits"] = logits_RP.addmm_(features_RF, self._fast_weights_PF.T)
        if "discriminant" in parts:
            found_RP = out["discriminant"][:rows]
            weights_PD, mean_D = self._fast_discriminant_PD, self._mean_weights_D
            self._product(vectors, unit_RD, weights_PD, mean_D, found_RP)
            made["discriminant"] = found_RP.add_(self._fast_discriminant_bias_P)
        return {part: _joined(made[part], vectors.images) for part in parts}

    def _product(
        self, vectors: Vectors, unit_RD: Tensor, weights_PD: Tensor, mean_D: Tensor, out_RP: Tensor
    ) -> None:
        """Products with centred weights; regions keep by how much their level is another."""
        if len(unit_RD) == vectors.images:
            torch.mm(unit_RD, weights_PD.T, out=out_RP)
            return
        levels_BV = (vectors.unit_RD @ mean_D).view(vectors.images, -1)
        above_R1 = (levels_BV - levels_BV[:, :1]).reshape(-1, 1).to(self.kind)
        torch.addmm(above_R1, unit_RD, weights_PD.T, out=out_RP)

    def exact(
        self, vectors: Vectors, ids_BK: Tensor, parts: tuple[Part, ...]
    ) -> dict[Part, Tensor]:
        """Parts [B, K] of these labels of each image in float32, levels and all."""
        made: dict[Part, Tensor] = {}
        each = len(vectors.unit_RD) // vectors.images
        ids_RK = ids_BK.repeat_interleave(each, dim=0) if each > 1 else ids_BK
        cosines_RK = None
        if "cosines" in parts or ("logits" in parts and self._scale):
            cosines_RK = picked(vectors.unit_RD, self._prompts_ND, ids_RK)
            made["cosines"] = cosines_RK
        if "logits" in parts:
            layer, features_RF = self.layer, vectors.features_RF
            assert layer is not None, "there is the part"
            assert features_RF is not None, "there is the part"
            logits_RK = picked(features_RF, layer.weights_NF, ids_RK) / self._spread
            logits_RK += self._bias_N[ids_RK]
            made["logits"] = (
                logits_RK if cosines_RK is None else logits_RK + self._scale * cosines_RK
            )
        if "discriminant" in parts:
            found = self._discriminant
            assert found is not None, "there is the part"
            made["discriminant"] = picked(vectors.unit_RD, found.weights_ND, ids_RK)
            made["discriminant"] += found.bias_N[ids_RK]
        return {
            part: _joined_few(made[part], vectors.images) if each > 1 else made[part]
            for part in parts
        }


@functools.lru_cache(maxsize=1)
def _quiet() -> None:
    """Torch says once in a process that its sparse tensors may change; nobody can mend that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


def picked(vectors_RF: Tensor, weights_NF: Tensor, ids_RK: Tensor) -> Tensor:
    """Products [R, K] of each vector with its own few labels: no other is computed or copied."""
    rows, count = ids_RK.shape
    _quiet()
    ends = torch.arange(0, rows * count + 1, count, device=ids_RK.device)
    pattern = torch.sparse_csr_tensor(
        ends,
        ids_RK.reshape(-1),
        vectors_RF.new_zeros(rows * count),
        (rows, len(weights_NF)),
        check_invariants=False,
    )
    found = torch.sparse.sampled_addmm(pattern, vectors_RF, weights_NF.T, beta=0.0)
    values: Tensor = found.values()
    return values.view(rows, count)


def _joined(parts_RP: Tensor, images: int) -> Tensor:
    """As :func:`~taistore.scoring.ladders.ladder.with_regions`: [B, P], of whole and regions."""
    if len(parts_RP) == images:
        return parts_RP
    parts_BVP = parts_RP.view(images, -1, parts_RP.shape[1])
    return (parts_BVP[:, 0] + highest(parts_BVP[:, 1:])).mul_(0.5)


def _joined_few(parts_RK: Tensor, images: int) -> Tensor:
    parts_BVK = parts_RK.view(images, -1, parts_RK.shape[1])
    return (parts_BVK[:, 0] + parts_BVK[:, 1:].amax(dim=1)) / 2


def highest(values_BVP: Tensor) -> Tensor:
    """The maximum over V, [B, P], through the bits as whole numbers, five times cheaper.

    These order like the numbers where one is positive, and the other way round where none is. On
    float32, and on a GPU, nothing is gained by it.
    """
    if values_BVP.dtype != torch.bfloat16:
        return values_BVP.amax(dim=1)
    bits_BVP = values_BVP.view(torch.int16)
    most_BP = bits_BVP.amax(dim=1)
    return torch.where(most_BP >= 0, most_BP, bits_BVP.amin(dim=1)).view(torch.bfloat16)


def rough_best(values_BP: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest values [B, K] with their places, highest first, in two small sorts.

    Labels are folded into P / FOLD groups; the highest ones lie in the groups with the highest
    maxima. True where the values are above 0 (negative ones order the other way round as bits).
    """
    images, filled = values_BP.shape
    folded_BFG = values_BP.view(images, FOLD, filled // FOLD)
    kind = _SAME_BITS[values_BP.dtype]
    groups_BK = folded_BFG.view(kind).amax(dim=1).topk(count, dim=1, sorted=False).indices
    few_BFK = folded_BFG.gather(2, groups_BK[:, None].expand(-1, FOLD, -1))
    found = few_BFK.view(images, -1).topk(count, dim=1)
    group_BK = groups_BK.gather(1, found.indices % count)
    places_BK = found.indices // count * (filled // FOLD) + group_BK
    return found.values, places_BK
