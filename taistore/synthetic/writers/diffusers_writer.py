"""The writer ``diffusers``: a text-to-image pipeline in this process, on a GPU or a CPU.

Shapes: B images of a batch, H height, W width, C three colours.
"""

import gc
import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from taistore.stopping import check
from taistore.synthetic.image_writer import (
    PER_TEXT,
    UNANSWERED,
    ImageRequest,
    StoredText,
    WrittenImage,
    numbered,
)

WAVE = 8
"""Batches in one call of ``write``: what is there already would leave small ones half empty."""

GIVEN_UP = 4
"""Images in a row that a pipeline fails at, each for itself, before the job ends."""

SIDE_FACTOR = 8
"""Most pipelines want sides that are multiples of this, whatever their VAE does."""


@contextmanager
def diffusers_writer(
    *,
    per_text: int = PER_TEXT,
    seed: int = 0,
    model: str = "",
    batch: int = 4,
    steps: int | None = None,
    guidance: float | None = None,
    size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Iterator["DiffusersWriter"]:
    """``per_text`` images of each text by any text-to-image pipeline of diffusers.

    ``model`` is a name on the hub or a folder that ``save_pretrained`` wrote; of its files only
    configurations and safetensors are read. ``batch`` images are drawn at once, in ``steps`` steps,
    with the weight ``guidance`` of the text, ``size`` pixels wide and high; None: as the pipeline
    has it. ``precision`` "auto" is fp16 on a GPU and fp32 on a CPU.

    Raises :class:`MissingExtraError` where diffusers is not installed and :class:`SyntheticError`
    where there is no such pipeline or it does not take an option.
    """
    if not model:
        raise SyntheticError("writer diffusers needs model, a name on the hub or a folder")
    if batch < 1 or (steps is not None and steps < 1):
        raise SyntheticError(f"batch and steps must be at least 1, not {batch} and {steps}")
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    options |= {"height": size, "width": size}
    on = resolve_device(device)
    dtype = resolve_precision(precision, on)
    with _quiet():
        pipeline = _loaded(model, dtype).to(on)
        pipeline.set_progress_bar_config(disable=True)
        given = {name: value for name, value in options.items() if value is not None}
        _require_taken(pipeline, model, given)
        if size is not None:
            _require_side(pipeline, model, size)
        writer = DiffusersWriter(pipeline, model, given, batch=batch, per_text=per_text, seed=seed)
        try:
            yield writer
        finally:
            writer.close()


class DiffusersWriter:
    """An :class:`~taistore.synthetic.image_writer.ImageWriter` that draws itself.

    Each image has its own noise, drawn on the CPU from its request's seed: it does not depend on
    those beside it, nor on the device, but for the rounding of sums.
    """

    name = "diffusers"

    def __init__(
        self,
        pipeline: Any,
        model: str,
        options: dict[str, Any],
        *,
        batch: int,
        per_text: int,
        seed: int,
    ) -> None:
        self._pipeline = pipeline
        self._options = options | {"output_type": "np"}
        if "callback_on_step_end" in _parameters(pipeline):
            self._options["callback_on_step_end"] = _after_step
        self._at_once = batch
        self._per_text = per_text
        self._seed = seed
        self._drawn = 0
        self._failed_in_a_row = 0
        self.model = Path(model).resolve().name if Path(model).is_dir() else model
        self.batch = WAVE * batch

    def wanted(self, texts: int) -> int:
        """``per_text`` of each."""
        return texts * self._per_text

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest]:
        """``per_text`` images of each text."""
        return numbered(texts, self._per_text, seed=self._seed)

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """Images, a batch at a time; a signal that a job holds back ends it between two steps.

        Raises :class:`SyntheticError` where not even one image fits into memory, where the pipeline
        refuses the first one, or fails at several in a row.
        """
        start = 0
        while start < len(requests):
            check()
            batch = requests[start : start + self._at_once]
            outcome = self._outcome(batch)
            if not isinstance(outcome, Exception):
                self._drawn += len(batch)
                self._failed_in_a_row = 0
                yield from outcome
            elif len(batch) > 1:
                # Memory: smaller batches from here on; else one image may be to blame.
                if out_of_memory(outcome):
                    self._at_once = len(batch) // 2
                    self._free()
                    continue
                for request in batch:
                    alone = self._outcome([request])
                    yield from self._blamed(request, alone)
            else:
                yield from self._blamed(batch[0], outcome)
            start += len(batch)

    def close(self) -> None:
        """Give the memory back."""
        self._pipeline = None
        self._free()

    def _outcome(self, batch: Sequence[ImageRequest]) -> list[WrittenImage] | Exception:
        """What is drawn, or what the pipeline raised, without the frames that hold its tensors."""
        try:
            return self._draw(batch)
        except Exception as error:
            return error.with_traceback(None)

    def _blamed(
        self, request: ImageRequest, outcome: list[WrittenImage] | Exception
    ) -> list[WrittenImage]:
        """The image of a request that was put alone, or why there is none."""
        if not isinstance(outcome, Exception):
            self._drawn += 1
            self._failed_in_a_row = 0
            return outcome
        said = _one_line(outcome)
        if out_of_memory(outcome):
            raise SyntheticError(
                f"the model {self.model!r} has too little memory for a single image ({said}): take "
                "a smaller --size (--batch is at 1 already) or a device with more"
            ) from outcome
        self._failed_in_a_row += 1
        refused = isinstance(outcome, ValueError | TypeError) and not self._drawn
        if refused or self._failed_in_a_row >= GIVEN_UP:
            raise SyntheticError(f"the model {self.model!r} cannot draw: {said}") from outcome
        return [
            WrittenImage(
                request=request, image=None, reason=f"{UNANSWERED}pipeline_error", detail=said
            )
        ]

    def _draw(self, batch: Sequence[ImageRequest]) -> list[WrittenImage]:
        noise = [torch.Generator("cpu").manual_seed(request.seed or 0) for request in batch]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = self._pipeline(
                prompt=[request.text.text for request in batch], generator=noise, **self._options
            )
        images_BHWC = np.asarray(output.images, dtype=np.float32)
        # Pipelines without a checker have no such field, those whose checker is off have None.
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            _written(request, image_HWC, unsafe=bool(verdict))
            for request, image_HWC, verdict in zip(batch, images_BHWC, unsafe, strict=True)
        ]

    @staticmethod
    def _free() -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _written(
    request: ImageRequest, image_HWC: NDArray[np.float32], *, unsafe: bool
) -> WrittenImage:
    if unsafe:
        detail = "the model's safety checker refuses it"
        return WrittenImage(request=request, image=None, reason="unsafe", detail=detail)
    if not np.isfinite(image_HWC).all():
        detail = "some of its pixels are no numbers: another precision may help"
        return WrittenImage(request=request, image=None, reason="not_finite", detail=detail)
    pixels_HWC = (image_HWC * 255).round().astype(np.uint8)
    return WrittenImage(request=request, image=Image.fromarray(pixels_HWC))


def _after_step(*_: object) -> dict[str, object]:
    """Let a waiting signal through; changes nothing."""
    check()
    return {}


def _loaded(model: str, dtype: torch.dtype) -> Any:
    """The pipeline of a folder or of a name on the hub, on the CPU."""
    folder = Path(model)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise SyntheticError(
            f"{printable(model)}: no diffusers pipeline (no model_index.json): name the folder "
            "that save_pretrained wrote"
        )
    library = _library("diffusers")
    options = {"dtype": dtype, "use_safetensors": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return library.AutoPipelineForText2Image.from_pretrained(model, **options)
            except ValueError:
                # Of a kind that is not on its list; what it takes is looked at later.
                return library.DiffusionPipeline.from_pretrained(model, **options)
    # A missing file, a gated hub, damaged weights: every part has errors of its own.
    except Exception as error:
        if out_of_memory(error):
            raise SyntheticError(f"the model {model!r} does not fit into memory") from error
        raise SyntheticError(
            f"diffusers cannot load the model {model!r} ({_one_line(error)}): name a pipeline on "
            "the hub, or a folder that save_pretrained wrote with safetensors"
        ) from error


def _library(module: str) -> Any:
    return require(module, extra="diffusers", purpose="drawing images with diffusers")


def _parameters(pipeline: Any) -> set[str]:
    return set(inspect.signature(pipeline.__call__).parameters)


def _require_taken(pipeline: Any, model: str, options: dict[str, Any]) -> None:
    takes = _parameters(pipeline)
    for option in ("prompt", "generator", "output_type", *options):
        if option not in takes:
            raise SyntheticError(
                f"the model {model!r} is a {type(pipeline).__name__}, which takes no {option}: "
                "leave the option out or name another text-to-image pipeline"
            )


def _require_side(pipeline: Any, model: str, size: int) -> None:
    factor = getattr(pipeline, "vae_scale_factor", SIDE_FACTOR)
    factor = max(SIDE_FACTOR, factor if isinstance(factor, int) else SIDE_FACTOR)
    if size < factor or size % factor:
        raise SyntheticError(
            f"size must be a multiple of {factor} pixels for the model {model!r}, not {size}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither bars nor remarks of diffusers and transformers while the block runs."""
    with ExitStack() as stack:
        for name in ("diffusers", "transformers"):
            _library(name)
            logs: Any = _library(f"{name}.utils.logging")
            stack.callback(logs.set_verbosity, logs.get_verbosity())
            if logs.is_progress_bar_enabled():
                stack.callback(logs.enable_progress_bar)
            logs.set_verbosity_error()
            logs.disable_progress_bar()
        yield


def _one_line(error: Exception) -> str:
    line = printable(str(error)).strip()[:200]
    return line or type(error).__name__
