"""Text-to-image pipelines of a few kilobytes with random weights, saved as the hub's are."""

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 32
"""Pixels of their images; the VAE halves once, so that sides are multiples of 2 at least, and of 8
as the pipelines want it."""


def save_stable_diffusion(folder: Path, *, checker: str = "") -> Path:
    """A Stable Diffusion pipeline; ``checker`` "strict" finds all images unsafe, "lenient" none."""
    diffusers: Any = __import__("diffusers")
    clip = _clip()
    safety = extractor = None
    if checker:
        safety, extractor = _checker(checker)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=clip,
        tokenizer=_tokenizer(folder / "words"),
        unet=_unet(cross=32),
        scheduler=_scheduler(),
        safety_checker=safety,
        feature_extractor=extractor,
        requires_safety_checker=bool(checker),
    )
    pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
    return folder / "pipeline"


def save_stable_diffusion_xl(folder: Path) -> Path:
    """A pipeline of the SDXL kind: two text encoders, no safety checker."""
    diffusers: Any = __import__("diffusers")
    transformers: Any = __import__("transformers")
    torch.manual_seed(1)
    second = transformers.CLIPTextModelWithProjection(_clip_config(projection_dim=32)).eval()
    tokenizer = _tokenizer(folder / "words")
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_clip(),
        text_encoder_2=second,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(
            cross=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
            transformer_layers_per_block=1,
        ),
        scheduler=_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
    return folder / "pipeline"


def break_weights(folder: Path) -> None:
    """Make every image of a saved pipeline NaN."""
    from safetensors.torch import load_file, save_file

    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["decoder.conv_out.bias"].fill_(float("nan"))
    save_file(weights, file, metadata={"format": "pt"})


def _tokenizer(folder: Path) -> Any:
    transformers: Any = __import__("transformers")
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789:,.-' "))
    tokens = ["<|startoftext|>", "<|endoftext|>"]
    tokens += [form for letter in letters for form in (letter, f"{letter}</w>")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=77,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )


def _clip_config(**more: int) -> Any:
    transformers: Any = __import__("transformers")
    return transformers.CLIPTextConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **more,
    )


def _clip() -> Any:
    transformers: Any = __import__("transformers")
    torch.manual_seed(0)
    return transformers.CLIPTextModel(_clip_config()).eval()


def _vae() -> Any:
    diffusers: Any = __import__("diffusers")
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        block_out_channels=[32, 64],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"],
        latent_channels=4,
    ).eval()


def _unet(*, cross: int, **more: object) -> Any:
    diffusers: Any = __import__("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=SIDE // 2,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=8,
        **more,
    ).eval()


def _scheduler() -> Any:
    diffusers: Any = __import__("diffusers")
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _checker(kind: str) -> tuple[Any, Any]:
    transformers: Any = __import__("transformers")
    from diffusers.pipelines.stable_diffusion.safety_checker import (
        StableDiffusionSafetyChecker,
    )

    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 37,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
        },
        projection_dim=32,
    )
    safety: Any = StableDiffusionSafetyChecker(config)
    # Unsafe is what is nearer to a concept than its threshold.
    threshold = {"strict": -2.0, "lenient": 2.0}[kind]
    safety.concept_embeds_weights.data.fill_(threshold)
    safety.special_care_embeds_weights.data.fill_(2.0)
    torch.nn.init.normal_(safety.concept_embeds)
    torch.nn.init.normal_(safety.special_care_embeds)
    extractor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    return safety, extractor
