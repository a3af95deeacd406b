"""How an open_clip encoder is written: :data:`GRAMMAR`.

``<weights>`` is a pretrained tag of open_clip or a local weights file. It is a file when its name
ends in one of :data:`WEIGHTS_SUFFIXES`; a tag never does. The first slash ends the model's name, so
an absolute path shows two slashes::

    open_clip:RN50/openai                         tag, the model's own resolution, squashed
    open_clip:ViT-B-16/laion2b_s34b_b88k@448,crop tag, 448 x 448, centre crop
    open_clip:RN50/openai@224,no-positions        whole images without positional embedding
    open_clip:RN50//models/rn50.pt@448            absolute path
    open_clip:RN50/models/rn50.safetensors        path relative to the working directory
    open_clip:RN50/~/rn50.pt                      path below the home folder
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from taistore.encoders.protocol import ResizeMode
from taistore.errors import EncoderError

PREFIX = "open_clip:"
WEIGHTS_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
NO_POSITIONS = ",no-positions"
GRAMMAR = (
    "open_clip:<model>/<pretrained tag or weights file>[@<resolution>][,squash|crop]"
    f"[{NO_POSITIONS}]"
)
EXAMPLE = "open_clip:RN50/openai@224"
_SMALLEST, _LARGEST = 32, 4096

# The weights match lazily: a path may hold '@' and ',' as long as the options come last.
_FORM = re.compile(
    r"(?P<model>[^/]+)/(?P<weights>.+?)(?:@(?P<resolution>\d+))?(?:,(?P<resize>squash|crop))?"
    rf"(?P<no_positions>{NO_POSITIONS})?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenClipSpec:
    """A parsed specification; ``resolution`` is ``None`` for the model's own.

    Without ``positions`` the attention pool of a ResNet makes the vectors of whole images without
    its positional embedding.
    """

    model: str
    weights: str
    resolution: int | None = None
    resize: ResizeMode = "squash"
    positions: bool = True

    @property
    def weights_file(self) -> Path | None:
        """The local weights file as an absolute path, ``None`` where the weights are a tag."""
        if not self.weights.lower().endswith(WEIGHTS_SUFFIXES):
            return None
        return Path(self.weights).expanduser().absolute()

    def canonical(self, native_resolution: int) -> "OpenClipSpec":
        """The one spelling of this encoder: resolution given, tag in lower case, path absolute."""
        path = self.weights_file
        weights = str(path) if path else self.weights.lower().replace("-", "_")
        return replace(self, weights=weights, resolution=self.resolution or native_resolution)

    def __str__(self) -> str:
        resolution = f"@{self.resolution}" if self.resolution else ""
        resize = f",{self.resize}" if self.resize != "squash" else ""
        positions = "" if self.positions else NO_POSITIONS
        return f"{PREFIX}{self.model}/{self.weights}{resolution}{resize}{positions}"


def parse_open_clip_spec(text: str) -> OpenClipSpec:
    """Parse ``open_clip:…``; raises :class:`EncoderError` with the grammar.

    >>> parse_open_clip_spec("open_clip:RN50//models/w.pt@448").weights
    '/models/w.pt'
    """
    form = _FORM.fullmatch(text.removeprefix(PREFIX))
    if not text.startswith(PREFIX) or form is None:
        raise EncoderError(f"encoder {text!r} is not of the form {GRAMMAR}, such as {EXAMPLE}")
    resolution = form["resolution"]
    if resolution is not None and not _SMALLEST <= int(resolution) <= _LARGEST:
        raise EncoderError(
            f"encoder {text!r}: resolution {resolution} is outside {_SMALLEST} to {_LARGEST} "
            f"pixels: such as {EXAMPLE}"
        )
    spec = OpenClipSpec(
        model=form["model"],
        weights=form["weights"],
        resolution=int(resolution) if resolution else None,
        resize="crop" if form["resize"] == "crop" else "squash",
        positions=form["no_positions"] is None,
    )
    if "/" in spec.weights and spec.weights_file is None:
        raise EncoderError(
            f"encoder {text!r}: {spec.weights!r} is neither a pretrained tag nor a weights file: "
            f"name a file that ends in {', '.join(WEIGHTS_SUFFIXES)}"
        )
    return spec
