"""Text-to-image pipelines of a few thousand random weights, saved as real ones are."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch

_LETTERS = "abcdefghijklmnopqrstuvwxyz.,'"
_WIDTH = 32


def save_tiny_pipeline(folder: Path, *, kind: str = "plain") -> Path:
    """Write a pipeline: ``plain``, ``unsafe`` (a safety checker that refuses everything) or ``xl``.

    Pictures are 32 x 32. Weights are the same whenever they are made.
    """
    diffusers = _diffusers()
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
        ),
        "text_encoder": _text_encoder(projection=False),
        "tokenizer": _tokenizer(folder),
        "unet": _unet(xl=kind == "xl"),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }
    if kind == "xl":
        parts |= {
            "text_encoder_2": _text_encoder(projection=True),
            "tokenizer_2": parts["tokenizer"],
        }
        made: Any = diffusers.StableDiffusionXLPipeline(**parts)
    else:
        checker = _refuses_everything() if kind == "unsafe" else (None, None)
        made = diffusers.StableDiffusionPipeline(
            **parts,
            safety_checker=checker[0],
            feature_extractor=checker[1],
            requires_safety_checker=kind == "unsafe",
        )
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder / "pipeline", safe_serialization=True)
    return folder / "pipeline"


def _diffusers() -> Any:
    return importlib.import_module("diffusers")


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>"]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return CLIPTokenizer(*files, model_max_length=77)


def _text_encoder(*, projection: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    last = 2 * len(_LETTERS) + 1
    kind: Any = CLIPTextModelWithProjection if projection else CLIPTextModel
    return kind(
        CLIPTextConfig(
            vocab_size=last + 1,
            hidden_size=_WIDTH,
            intermediate_size=37,
            projection_dim=_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=last - 1,
            eos_token_id=last,
            pad_token_id=last,
        )
    )


def _unet(*, xl: bool) -> Any:
    diffusers = _diffusers()
    more: dict[str, Any] = {}
    if xl:
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + _WIDTH,
        }
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_WIDTH * (2 if xl else 1),
        attention_head_dim=8,
        norm_num_groups=8,
        **more,
    )


def _refuses_everything() -> tuple[Any, Any]:
    stable = importlib.import_module("diffusers.pipelines.stable_diffusion.safety_checker")
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": _WIDTH,
        "intermediate_size": 37,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 16,
    }
    checker: Any = stable.StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=vision, projection_dim=_WIDTH)
    )
    # A cosine is always above a threshold of -2.
    checker.concept_embeds_weights.data.fill_(-2.0)
    size = {"height": 32, "width": 32}
    return checker, CLIPImageProcessor(size=size, crop_size=size)
