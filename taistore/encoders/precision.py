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


def bf16_units() -> bool:
    """Whether this machine's processor multiplies in bf16 by itself (AVX512-BF16, AMX, Arm's).

    Without, torch turns every product into float32 and back, which takes longer than float32.
    """
    # Before torch 2.7 nothing tells: then fp32.
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The number format of weights and activations; ``auto`` is fp16 on a CUDA GPU, else fp32.

    fp16 keeps 11 bits of mantissa and is the format that OpenAI's weights come in; bf16 keeps 8.
    With trained weights, products in bf16 turn vectors of a transformer by 2e-5 (MiniLM), of
    photos through convolutions by 9e-4 in the mean but up to 3e-2 (EfficientNet-lite), more than
    the 1e-3 of cosine that we allow a default to cost. On a processor without units for it,
    ``bf16`` is fp32: nearer, and not slower.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in PRECISIONS:
        raise EncoderError(
            f"precision {precision!r} is unknown: use auto, {', '.join(sorted(PRECISIONS))}"
        )
    if precision == "bf16" and device.type == "cpu" and not bf16_units():
        return torch.float32
    return PRECISIONS[precision]
