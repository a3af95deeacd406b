"""SmolLM2-135M-Instruct as vLLM loads it: dequantised from its package and saved to disk."""

from pathlib import Path
from typing import Any

import transformers

from taistore.texts.llm.engines.llama_server import small_model


def save_small_model(folder: Path) -> Path:
    """Weights in bfloat16, tokenizer and chat template; 270 MB, under a minute."""
    file = small_model()
    # Untyped in some versions of transformers.
    library: Any = transformers
    model = library.AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        dtype="bfloat16",
        quantization_config=library.GgufConfig(dequantize=True),
    )
    tokenizer = library.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
