"""Where an encoder runs and in which number format."""

import torch

from taistore.errors import EncoderError

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def resolve_device(device: str) -> torch.device:
    """``auto`` (the GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises :class:`EncoderError` for a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise EncoderError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:1") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise EncoderError(
            f"device {device!r} is not here (torch sees {torch.cuda.device_count()} CUDA devices): "
            "use device=auto or device=cpu"
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise EncoderError(f"device {device!r} is not here: use device=auto or device=cpu")
    return resolved


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The number format of weights and activations; ``auto`` is fp16 on a CUDA GPU, else fp32.

    fp16 keeps 11 bits of mantissa and is the format that OpenAI's weights come in; bf16 keeps 8,
    which turns vectors by more than the 1e-3 of cosine that we allow a default to cost.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in PRECISIONS:
        raise EncoderError(
            f"precision {precision!r} is unknown: use auto, {', '.join(sorted(PRECISIONS))}"
        )
    return PRECISIONS[precision]
