"""The writer ``diffusers``: a text-to-image pipeline in this process, on a GPU or a CPU.

Shapes: B pictures of a batch, H height, W width.
"""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from taistore._extras import require
from taistore.encoders.out_of_memory import out_of_memory
from taistore.encoders.precision import resolve_device, resolve_precision
from taistore.errors import SyntheticError
from taistore.printable import printable
from taistore.synthetic.image_writer import (
    PER_TEXT,
    UNANSWERED,
    ImageRequest,
    StoredText,
    WrittenImage,
    numbered,
)

BATCH = 4
GIVEN_UP = 3
"""Pictures that fail one after another, with none drawn before, after which the job ends."""

_LOGGERS = ("diffusers", "transformers", "accelerate", "huggingface_hub")


@contextmanager
def diffusers_writer(
    *,
    model: str = "",
    per_text: int = PER_TEXT,
    seed: int = 0,
    batch: int = BATCH,
    steps: int | None = None,
    guidance: float | None = None,
    size: int | None = None,
    device: str = "auto",
) -> Iterator["DiffusersWriter"]:
    """Pictures by any text-to-image pipeline of diffusers.

    ``model`` is a name on the hub or a folder that ``save_pretrained`` wrote; only safetensors are
    read, and no code of the model's runs. ``batch`` pictures are drawn at once, in ``steps`` steps,
    with the weight ``guidance`` on the caption, ``size`` pixels wide and high; None: what the
    pipeline does by itself. Half precision on a GPU. Raises :class:`MissingExtraError` where
    diffusers is not installed, and :class:`SyntheticError` where the model cannot be loaded, or
    does not take a setting.
    """
    if not model:
        raise SyntheticError("writer diffusers needs model, a name on the hub or a folder")
    on = resolve_device(device)
    with _quiet():
        pipeline = _loaded(model, on)
        pipeline.set_progress_bar_config(disable=True)
        drawn = {"num_inference_steps": steps, "guidance_scale": guidance}
        settings = {name: value for name, value in drawn.items() if value is not None}
        if size is not None:
            _require_size(pipeline, model, size)
            settings |= {"height": size, "width": size}
        _require_taken(pipeline, model, settings)
    name = Path(model).name if Path(model).is_dir() else model
    yield DiffusersWriter(
        pipeline, name, settings, device=on, per_text=per_text, seed=seed, batch=batch
    )


class DiffusersWriter:
    """Draws with a pipeline; each picture from a generator of its own, whatever its batch."""

    name = "diffusers"

    def __init__(
        self,
        pipeline: Any,
        model: str,
        settings: dict[str, Any],
        *,
        device: torch.device,
        per_text: int,
        seed: int,
        batch: int,
    ) -> None:
        self.model = model
        self.batch = batch
        self._pipeline, self._settings = pipeline, settings
        # On the CPU, so that the same seed gives the same picture on every device.
        self._noise = torch.device("cpu" if device.type == "mps" else device)
        self._per_text, self._seed = per_text, seed
        self._drawn = self._failed = 0

    def wanted(self, texts: int) -> int:
        """``per_text`` of each."""
        return texts * self._per_text

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest]:
        """Those of each text, numbered from 0."""
        return numbered(texts, self._per_text, seed=self._seed)

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """Draw a batch; where it fails, in halves, until what fails is found.

        Raises :class:`SyntheticError` where a single picture takes more memory than there is, and
        where nothing can be drawn at all.
        """
        try:
            with _quiet():
                pictures = self._draw(requests)
        except Exception as error:
            if len(requests) > 1:
                half = len(requests) // 2
                if out_of_memory(error):
                    self.batch = min(self.batch, half)
                    torch.cuda.empty_cache()
                yield from self.write(requests[:half])
                yield from self.write(requests[half:])
                return
            yield self._failure(requests[0], error)
            return
        self._drawn += len(pictures)
        self._failed = 0
        yield from pictures

    def _draw(self, requests: Sequence[ImageRequest]) -> list[WrittenImage]:
        generators = [
            torch.Generator(self._noise).manual_seed(request.seed or 0) for request in requests
        ]
        with torch.inference_mode():
            found = self._pipeline(
                prompt=[request.text.text for request in requests],
                generator=generators,
                output_type="np",
                **self._settings,
            )
        unsafe = getattr(found, "nsfw_content_detected", None) or [False] * len(requests)
        return [
            _written(request, picture_HW3, unsafe=bool(flag))
            for request, picture_HW3, flag in zip(requests, found.images, unsafe, strict=True)
        ]

    def _failure(self, request: ImageRequest, error: Exception) -> WrittenImage:
        said = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")[:300]
        if out_of_memory(error):
            raise SyntheticError(
                f"out of memory while {self.model} draws a single picture: give a smaller size=, "
                "or a smaller model="
            ) from error
        self._failed += 1
        if not self._drawn and self._failed >= GIVEN_UP:
            raise SyntheticError(
                f"{self.model} draws nothing ({said}): look at model=, steps=, guidance= and size="
            ) from error
        return WrittenImage(
            request=request, image=None, reason=f"{UNANSWERED}failed", detail=f"not drawn: {said}"
        )


def _written(request: ImageRequest, picture_HW3: NDArray[Any], *, unsafe: bool) -> WrittenImage:
    if unsafe:
        return WrittenImage(
            request=request,
            image=None,
            reason="unsafe",
            detail="the safety checker of the model took it away: nothing is to be done",
        )
    if not np.isfinite(picture_HW3).all():
        return WrittenImage(
            request=request,
            image=None,
            reason="not_finite",
            detail="its pixels are no numbers: half precision may be too small for this model",
        )
    pixels = (np.clip(picture_HW3, 0, 1) * 255).round().astype(np.uint8)
    return WrittenImage(request=request, image=Image.fromarray(pixels))


def _loaded(model: str, device: torch.device) -> Any:
    """The pipeline of a name or folder, on a device; :class:`SyntheticError` names why not."""
    diffusers = require("diffusers", extra="diffusers", purpose="writer diffusers")
    require("transformers", extra="diffusers", purpose="writer diffusers")
    if Path(model).is_dir() and not (Path(model) / "model_index.json").is_file():
        raise SyntheticError(
            f"{model}: no pipeline in this folder (it has no model_index.json): name one that "
            "save_pretrained wrote"
        )
    try:
        return _from_pretrained(diffusers, model, device).to(device)
    except Exception as error:
        said = printable(" ".join(str(error).split()))[:300]
        if out_of_memory(error):
            raise SyntheticError(
                f"{model}: too large for {device}: name a smaller model"
            ) from error
        raise SyntheticError(
            f"{model}: cannot be loaded as a text-to-image pipeline ({type(error).__name__}: "
            f"{said}): check the name or folder, and that its weights are safetensors"
        ) from error


def _from_pretrained(diffusers: Any, model: str, device: torch.device) -> Any:
    dtype = resolve_precision("auto", device)

    def loaded(variant: str | None) -> Any:
        settings = {"torch_dtype": dtype, "use_safetensors": True, "variant": variant}
        try:
            return diffusers.AutoPipelineForText2Image.from_pretrained(model, **settings)
        except ValueError:
            # A kind that is not registered as one of text to image; what it takes is looked at.
            return diffusers.DiffusionPipeline.from_pretrained(model, **settings)

    if dtype == torch.float16:
        # Half precision is often published in files of its own, half the size.
        with contextlib.suppress(Exception):
            return loaded("fp16")
    return loaded(None)


def _require_taken(pipeline: Any, model: str, settings: dict[str, Any]) -> None:
    """Raise where the pipeline does not take a setting, or draws from no prompt."""
    taken = inspect.signature(pipeline.__call__).parameters
    words = {"num_inference_steps": "steps", "guidance_scale": "guidance", "height": "size"}
    for name in ("prompt", "generator", "output_type", *settings):
        if name not in taken:
            kind = type(pipeline).__name__
            raise SyntheticError(
                f"{model} is a {kind}, which takes no {words.get(name, name)}: "
                + ("leave it out" if name in words else "name a text-to-image model")
            )


def _require_size(pipeline: Any, model: str, size: int) -> None:
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    if size % max(factor, 8):
        raise SyntheticError(
            f"size {size} is no multiple of {max(factor, 8)}, which {model} needs: give "
            f"size={round(size / max(factor, 8)) * max(factor, 8) or max(factor, 8)}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no chatter of the libraries: the job has its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        for library in ("diffusers.utils", "transformers.utils"):
            with contextlib.suppress(ImportError):
                logs = __import__(library, fromlist=["logging"]).logging
                logs.disable_progress_bar()
                stack.callback(logs.enable_progress_bar)
        yield
