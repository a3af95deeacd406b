"""The writers ``openai`` and ``vllm``: a language model's engine with instructions and sampling."""

from collections.abc import Iterator
from contextlib import contextmanager

from taistore.errors import TextError
from taistore.labels import LabelSet
from taistore.texts.llm.chat import ChatEngine
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling

CONCURRENCY = 8
TIMEOUT = 120.0
GPU_MEMORY = 0.9
USUAL = Sampling()
INSTRUCTIONS = "paper"


@contextmanager
def openai_writer(
    labels: LabelSet,
    *,
    base_url: str = "",
    model: str = "",
    concurrency: int = CONCURRENCY,
    timeout: float = TIMEOUT,
    instructions: str = INSTRUCTIONS,
    temperature: float = USUAL.temperature,
    max_tokens: int = USUAL.max_tokens,
) -> Iterator[ConversationWriter]:
    """Captions by a model behind an OpenAI-compatible server.

    ``base_url`` is where its API begins; ``model`` is one of the server's, "" its only one.
    ``concurrency`` requests are under way at once, each for at most ``timeout`` seconds.
    ``instructions`` names a packaged profile or a file, see
    :func:`taistore.texts.llm.instructions.load_instructions`. The key comes from the environment
    variable OPENAI_API_KEY alone. Raises :class:`TextError` where no server answers.
    """
    from taistore.texts.llm.engines.openai import OpenAIEngine

    if not base_url:
        raise TextError("writer openai needs base_url, such as http://127.0.0.1:8000/v1")
    prompts = load_instructions(instructions)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    made = OpenAIEngine(base_url, model, concurrency=concurrency, timeout=timeout)
    with made as engine:
        yield ConversationWriter(
            engine,
            labels,
            name="openai",
            prompts=prompts,
            sampling=sampling,
            # As many calls as requests under way: no answer waits for a slower one.
            lanes=concurrency,
            notes=_notes(engine, engine.others),
        )


@contextmanager
def vllm_writer(
    labels: LabelSet,
    *,
    model: str = "",
    tensor_parallel: int = 1,
    gpu_memory: float = GPU_MEMORY,
    instructions: str = INSTRUCTIONS,
    temperature: float = USUAL.temperature,
    max_tokens: int = USUAL.max_tokens,
) -> Iterator[ConversationWriter]:
    """Captions by a model in this process, on GPUs.

    ``model`` is a name on the hub or a folder; ``tensor_parallel`` counts GPUs, ``gpu_memory`` is
    the share of their memory that it may take. The others as for :func:`openai_writer`. Raises
    :class:`TextError` where the model cannot be loaded.
    """
    from taistore.texts.llm.engines.vllm import VllmEngine

    if not model:
        raise TextError("writer vllm needs model, a name on the hub or a folder")
    prompts = load_instructions(instructions)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    with VllmEngine(model, tensor_parallel=tensor_parallel, memory=gpu_memory) as engine:
        # vLLM keeps its batch full by itself and is called from one thread.
        yield ConversationWriter(
            engine,
            labels,
            name="vllm",
            prompts=prompts,
            sampling=sampling,
            notes=_notes(engine),
        )


def _notes(engine: ChatEngine, others: tuple[str, ...] = ()) -> list[str]:
    notes = [f"captions by {engine.model}"]
    if others:
        listed = ", ".join(others[:5])
        notes.append(f"the server does not list this model, but {listed}: those may answer")
    return notes
