"""Chat by a model in this process through vLLM: offline, continuous batching, one or more GPUs."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taistore._extras import require
from taistore.errors import TextError
from taistore.texts.llm.chat import ChatReply, ChatRequest

BATCH = 8192
"""Requests per call of vLLM, which fills its batch from them as others end."""

TEMPLATE_TOKENS = 512
"""More than a chat template adds. A token has a byte or more, so that most prompts fit for certain
and need not be counted; should one slip through, it still costs only itself.
"""

NO_THINKING = {"enable_thinking": False}
"""For chat templates that know the word; a caption needs no reasoning, and it would fill the bound.
"""


class VllmEngine:
    """A :class:`~taistore.texts.llm.chat.ChatEngine` on ``vllm.LLM.chat``.

    ``model`` is a name on the hub or a folder, ``revision`` a branch, tag or commit of the former.
    ``tensor_parallel`` GPUs share the model. ``max_model_len`` bounds prompt and answer in tokens:
    captions need little, and a small bound leaves memory for more of them at once. ``seed`` is the
    engine's own; each request brings another. ``memory`` is the share of the GPU that may be used.

    Entering loads the model and raises :class:`TextError` when that fails; leaving gives the
    memory back.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        tensor_parallel: int = 1,
        seed: int = 0,
        max_model_len: int = 2048,
        memory: float = 0.9,
        dtype: str = "auto",
        eager: bool = False,
    ) -> None:
        if tensor_parallel < 1 or max_model_len < 2 or not 0 < memory <= 1:
            raise TextError(
                "tensor_parallel must be at least 1, max_model_len at least 2 and memory above 0 "
                f"and at most 1, not {tensor_parallel}, {max_model_len} and {memory:g}"
            )
        self._name = model
        self._revision = revision
        self._options: dict[str, Any] = {
            "revision": revision,
            "tensor_parallel_size": tensor_parallel,
            "seed": seed,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": memory,
            "dtype": dtype,
            "enforce_eager": eager,
        }
        self._longest = max_model_len
        self._vllm: Any = None
        self._llm: Any = None

    def __repr__(self) -> str:
        return f"VllmEngine({self.model!r})"

    @property
    def model(self) -> str:
        """The model's name, of a folder only the last part, and its revision."""
        name = Path(self._name).resolve().name if Path(self._name).is_dir() else self._name
        return f"{name}@{self._revision}" if self._revision else name

    def __enter__(self) -> Self:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        with _output_to_stderr():
            self._load()
        if getattr(self._llm.get_tokenizer(), "chat_template", "") is None:
            self._release()
            raise TextError(
                f"the model {self._name!r} has no chat template: take an instruction-tuned one"
            )
        return self

    def _load(self) -> None:
        self._vllm = require("vllm", extra="vllm", purpose="writing captions with vLLM")
        platforms = require("vllm.platforms", extra="vllm", purpose="writing captions with vLLM")
        if platforms.current_platform.is_cpu():
            # Seeded requests whose prompt is read in pieces stop vLLM on a CPU (seen in 0.32: "CPU
            # Generator does not use offset").
            self._options["enable_chunked_prefill"] = False
        try:
            self._llm = self._vllm.LLM(model=self._name, **self._options)
        # A missing file, a gated hub, too little memory: every part of vLLM has errors of its own.
        except Exception as error:
            self._release()
            raise TextError(
                f"vLLM cannot load the model {self._name!r}: {_one_line(error)}"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._release()

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """One reply per request, a batch at a time.

        A prompt that does not fit is answered with the reason ``prompt_too_long``; raises
        :class:`TextError` when vLLM itself has died.
        """
        if self._llm is None:
            raise RuntimeError("the engine is not open: use it in a with statement")
        for start in range(0, len(requests), BATCH):
            fitting = []
            for request in requests[start : start + BATCH]:
                problem = self._problem(request)
                if problem is None:
                    fitting.append(request)
                else:
                    yield problem
            yield from self._answers(fitting)

    def _problem(self, request: ChatRequest) -> ChatReply | None:
        """Why vLLM would refuse this request: it raises for the whole call, not for one."""
        said = sum(len(turn.content.encode()) for turn in request.messages)
        if said + TEMPLATE_TOKENS < self._longest:
            return None
        try:
            tokens = len(
                self._llm.get_tokenizer().apply_chat_template(
                    _messages(request),
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=False,
                    **NO_THINKING,
                )
            )
        # Templates are programs of the model's authors and raise what they like, for example at a
        # system message.
        except Exception as error:
            detail = f"the chat template refuses: {_one_line(error)}"
            return _failed(request, "refused_request", detail)
        if tokens >= self._longest:
            detail = f"{tokens:,} tokens, the model is given {self._longest:,}"
            return _failed(request, "prompt_too_long", detail)
        return None

    def _answers(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        if not requests:
            return
        try:
            outputs = self._llm.chat(
                [_messages(request) for request in requests],
                [self._sampling(request) for request in requests],
                use_tqdm=False,
                chat_template_kwargs=NO_THINKING,
            )
        # What vLLM raises over a request has no base class that all its versions know.
        except Exception as error:
            if isinstance(error, RuntimeError) or type(error).__name__ == "EngineDeadError":
                raise TextError(
                    f"vLLM stopped ({_one_line(error)}): see its messages above, then run again"
                ) from error
            if len(requests) == 1:
                yield _failed(requests[0], "refused_request", _one_line(error))
                return
            # One bad request spoils the call: halve until it stands alone.
            middle = len(requests) // 2
            yield from self._answers(requests[:middle])
            yield from self._answers(requests[middle:])
            return
        for request, output in zip(requests, outputs, strict=True):
            yield _reply(request, output.outputs[0])

    def _sampling(self, request: ChatRequest) -> Any:
        return self._vllm.SamplingParams(
            temperature=request.temperature, max_tokens=request.max_tokens, seed=request.seed
        )

    def _release(self) -> None:
        """Stop the engine and free the GPU, as vLLM's documentation says."""
        if self._vllm is None:
            return
        if self._llm is not None:
            core = getattr(self._llm.llm_engine, "engine_core", None)
            if core is not None:
                core.shutdown()
        self._llm = None
        gc.collect()
        with contextlib.suppress(ImportError):
            distributed = require(
                "vllm.distributed", extra="vllm", purpose="writing captions with vLLM"
            )
            distributed.cleanup_dist_env_and_memory()
        self._vllm = None


@contextlib.contextmanager
def _output_to_stderr() -> Iterator[None]:
    """Standard output belongs to the command's own result, whatever vLLM and its parts print."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _messages(request: ChatRequest) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in request.messages]


def _reply(request: ChatRequest, output: Any) -> ChatReply:
    truncated = output.finish_reason == "length"
    if not output.text:
        detail = f"no text, finish_reason {output.finish_reason}"
        return ChatReply(
            request_id=request.request_id,
            text=None,
            truncated=truncated,
            reason="empty_reply",
            detail=detail,
        )
    return ChatReply(request_id=request.request_id, text=output.text, truncated=truncated)


def _failed(request: ChatRequest, reason: str, detail: str) -> ChatReply:
    return ChatReply(request_id=request.request_id, text=None, reason=reason, detail=detail)


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())[:200]
    return line or type(error).__name__
