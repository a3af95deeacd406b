"""From a photo to the model's input size. H, W are both the resolution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as T

from taistore.encoders.protocol import ResizeMode

# Beyond this ratio of the sides a crop cuts before it resizes: a 50,000 x 20 panorama would
# otherwise be blown up to 560,000 x 224 only to keep its middle.
_LONG_SIDE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFitter:
    """Resizes upright RGB images; safe to call from several threads.

    ``squash`` ignores the aspect ratio (the whole photo is seen, as the multi-label papers do);
    ``crop`` resizes the short side and keeps the centre, as CLIP's own evaluation does.
    """

    resolution: int
    resize: ResizeMode
    interpolation: str = "bicubic"

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """An image of any size to uint8 [3, H, W]."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        if self.resize == "crop":
            image = cut_long_side(image)
        mode = InterpolationMode(self.interpolation)
        size = [self.resolution] * (2 if self.resize == "squash" else 1)
        pixels_3HW = T.resize(T.pil_to_tensor(image), size, interpolation=mode, antialias=True)
        if self.resize == "crop":
            pixels_3HW = T.center_crop(pixels_3HW, [self.resolution, self.resolution])
        pixels: NDArray[np.uint8] = np.ascontiguousarray(pixels_3HW.numpy())
        return pixels


def cut_long_side(image: Image.Image) -> Image.Image:
    """The middle of an image that is much longer than a centre crop of it will show."""
    keep = _LONG_SIDE * min(image.size)
    if max(image.size) <= keep:
        return image
    left, top = (max(side - keep, 0) // 2 for side in image.size)
    return image.crop((left, top, left + min(image.width, keep), top + min(image.height, keep)))
