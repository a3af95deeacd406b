"""The image writer ``openai`` against a server that fails in every way; real sockets."""

import base64
import io
import json
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from PIL import Image

from taistore.errors import SyntheticError
from taistore.stopping import StopRequested, held, stop_on_signals
from taistore.synthetic.image_writer import ImageRequest, StoredText, WrittenImage
from taistore.synthetic.writers.openai_images import HARMLESS, MOST_BYTES, openai_images_writer
from taistore.texts.llm.engines.endpoint import KEY_VARIABLE
from tests.faults.server import (
    MODEL,
    Behaviour,
    Exchange,
    FaultServer,
    drop,
    failing,
    first,
    poisoned,
    raw,
    says,
    stall,
    trickle,
)

KEY = "sk-test/0123456789abcdef"
HTML = b"<html><body>Bad gateway</body></html>"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def png(number: int = 0) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(*entries: object) -> bytes:
    return json.dumps({"created": 1, "data": list(entries)}).encode()


def in_base64(data: bytes) -> dict[str, str]:
    return {"b64_json": base64.b64encode(data).decode()}


GOOD = images(in_base64(png()))


def draws(exchange: Exchange) -> None:
    """A picture that follows from the seed."""
    exchange.send(images(in_base64(png(exchange.body.get("seed", 0)))))


def strict(*allowed: str, message: str = "Unknown parameter: '{}'.") -> Behaviour:
    """Refuses a field that it does not know, one at a time."""

    def behave(exchange: Exchange) -> None:
        for name in exchange.body:
            if name not in allowed:
                return failing(400, message=message.format(name))(exchange)
        return draws(exchange)

    return behave


def texts(count: int, *, said: str = "a dog and a sofa") -> list[StoredText]:
    return [StoredText(f"t{number}", number, f"{number}: {said}") for number in range(count)]


def ask(
    server: FaultServer,
    of: Iterable[StoredText],
    *,
    per_text: int = 1,
    concurrency: int = 4,
    timeout: float = 5.0,
    retries: int = 2,
    model: str = "",
    size: int | None = None,
) -> dict[str, WrittenImage]:
    with openai_images_writer(
        per_text=per_text,
        seed=7,
        base_url=server.url,
        model=model,
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        first_wait=0.01,
        size=size,
    ) as writer:
        requests = list(writer.requests(of))
        made = list(writer.write(requests))
    keys = sorted(answer.request.synthetic_id for answer in made)
    assert keys == sorted(request.synthetic_id for request in requests)
    return {answer.request.synthetic_id: answer for answer in made}


def one(
    behaviour: Behaviour,
    *,
    files: Mapping[str, Behaviour] | None = None,
    timeout: float = 5.0,
    retries: int = 2,
) -> WrittenImage:
    with FaultServer(behaviour, files=files) as server:
        return ask(server, texts(1), timeout=timeout, retries=retries)["t0-0"]


def test_every_image_comes_over_few_connections() -> None:
    def slow(exchange: Exchange) -> None:
        exchange.wait(0.01)
        draws(exchange)

    with FaultServer(slow) as server:
        made = ask(server, texts(20), per_text=2, concurrency=4, size=64)
        assert 2 <= server.most_at_once <= 4
        assert server.connections <= 4
        bodies = [request["body"] for request in server.requests]
        assert {request["path"] for request in server.requests} == {"/v1/images/generations"}
    assert len(bodies) == 40
    assert len({answer.image for answer in made.values()}) == 40
    body = next(body for body in bodies if body["prompt"].startswith("3:"))
    assert body | {"seed": 0} == {
        "prompt": "3: a dog and a sofa",
        "n": 1,
        "model": MODEL,
        "size": "64x64",
        "seed": 0,
        "response_format": "b64_json",
    }
    assert all(0 <= body["seed"] < 2**31 for body in bodies)
    for answer in made.values():
        assert answer.request.seed is not None
        assert answer.image == png(answer.request.seed & (2**31 - 1))


def test_model_and_size_are_sent_where_they_are_known() -> None:
    nothing = raw(b"", status=404)
    with FaultServer(draws, listing=nothing) as server:
        ask(server, texts(1))
        assert {"model", "size"}.isdisjoint(server.requests[0]["body"])
        ask(server, texts(1), model="flux")
        assert server.requests[1]["body"]["model"] == "flux"
        with openai_images_writer(per_text=1, seed=0, base_url=server.url) as writer:
            assert writer.model is None
            assert writer.name == "openai"
    with (
        FaultServer(draws) as server,
        openai_images_writer(per_text=3, seed=0, base_url=server.url) as writer,
    ):
        assert (writer.model, writer.wanted(5)) == (MODEL, 15)


@pytest.mark.parametrize(
    "bad",
    [
        drop,
        failing(429, headers={"Retry-After": "0"}),
        failing(500),
        failing(503),
        failing(524),
        raw(HTML),
        raw(b"plain text"),
        raw(b"{}"),
        raw(b"[" * 100_000),
        raw(GOOD[:-30]),
        raw(images({"b64_json": "%%% no base64 %%%"})),
        raw(images({"b64_json": "iVBORw0KGg"})),
        raw(images("a string")),
        says("NOT HTTP\r\n\r\n"),
    ],
)
def test_what_passes_is_asked_again(bad: Behaviour) -> None:
    with FaultServer(first(3, bad, draws)) as server:
        made = ask(server, texts(3), concurrency=3)
        assert len(server.requests) == 6
    assert all(answer.image for answer in made.values())


@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        (raw(HTML), "unanswered:invalid_reply", "not whole JSON"),
        (raw(images({"b64_json": "%%%"})), "unanswered:invalid_reply", "not whole base64"),
        (failing(500, message="out of memory"), "unanswered:server_error", "out of memory"),
        (drop, "unanswered:dropped", "dropped"),
        (raw(images()), "no_image", "no image"),
        (raw(images({"b64_json": None, "url": None})), "no_image", "neither"),
        (failing(400, code="content_policy_violation", message="unsafe"), "unsafe", "400"),
        (failing(403, code="moderation_blocked", message="unsafe"), "unsafe", "403"),
        (failing(400, message="no such size"), "refused_request", "no such size"),
    ],
)
def test_what_stays_bad_costs_its_own_image(bad: Behaviour, reason: str, said: str) -> None:
    with FaultServer(poisoned("2:", bad, draws)) as server:
        made = ask(server, texts(4), concurrency=1)
        asked = sum(request["body"]["prompt"].startswith("2:") for request in server.requests)
    poor = made.pop("t2-0")
    assert (poor.image, poor.reason) == (None, reason)
    assert said in poor.detail
    assert "\n" not in poor.detail
    assert asked == (3 if reason.startswith("unanswered") else 1)
    assert all(answer.image for answer in made.values())


def test_a_refused_first_prompt_costs_only_itself() -> None:
    unsafe = failing(400, code="content_policy_violation", message="unsafe")
    with FaultServer(poisoned("0:", unsafe, draws)) as server:
        made = ask(server, texts(2), concurrency=1)
        assert len(server.requests) == 2
    assert made["t0-0"].reason == "unsafe"
    assert made["t1-0"].image


@pytest.mark.parametrize("slow", [stall, trickle])
def test_a_request_ends_on_time_whatever_the_server_does(slow: Behaviour) -> None:
    began = time.monotonic()
    assert one(slow, timeout=0.3, retries=0).reason == "unanswered:timeout"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("announced", [True, False])
def test_a_hundred_megabytes_are_cut_off(announced: bool) -> None:
    sent = 0

    def endless(exchange: Exchange) -> None:
        nonlocal sent
        sent = 0
        if announced:
            exchange.start(100 << 20)
        else:
            exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        piece = b"A" * 65_536
        for _ in range((100 << 20) // len(piece)):
            exchange.write(piece)
            sent += len(piece)
        exchange.drop()

    tracemalloc.start()
    try:
        made = one(endless, timeout=60.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (made.reason, made.image) == ("too_large", None)
    assert f"{MOST_BYTES:,}" in made.detail
    assert sent < (10 << 20 if announced else 90 << 20)
    assert peak < (16 << 20 if announced else 100 << 20)


@pytest.mark.parametrize("refused", [("seed",), ("response_format",), ("seed", "response_format")])
@pytest.mark.parametrize("message", ["Unknown parameter: '{}'.", "bad request"])
def test_a_refused_field_is_left_out(refused: tuple[str, ...], message: str) -> None:
    allowed = {"prompt", "n", "model", "size", "seed", "response_format"} - set(refused)
    with FaultServer(strict(*allowed, message=message)) as server:
        made = ask(server, texts(5), concurrency=1, retries=0)
        assert len(server.requests) == 5 + (len(refused) if "{}" in message else 1)
        assert set(refused).isdisjoint(server.requests[-1]["body"])
    assert all(answer.image for answer in made.values())


def test_once_an_image_has_come_a_refusal_is_the_prompts() -> None:
    bad = failing(400, message="bad request")
    with FaultServer(poisoned("3:", bad, draws)) as server:
        made = ask(server, texts(5), concurrency=1)
        assert len(server.requests) == 5
        assert all("seed" in request["body"] for request in server.requests)
    assert made["t3-0"].reason == "refused_request"


def test_an_image_on_the_same_server_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    # Bytes that hold what looks like an escaped key come as they are.
    file = png() + KEY.encode() + b"\\"
    files = {"/files/a%20b.png?t=1": raw(file)}

    def behave(exchange: Exchange) -> None:
        host = exchange.host
        exchange.send(images({"url": f"http://{host}/files/a b.png?t=1"}))

    with FaultServer(behave, files=files) as server:
        assert ask(server, texts(1))["t0-0"].image == file
        assert server.gets[-1]["path"] == "/files/a%20b.png?t=1"
    assert one(raw(images({"url": "/files/a b.png?t=1"})), files=files).image == file
    data = "data:image/png;base64," + base64.b64encode(png()).decode()
    assert one(raw(images({"url": data}))).image == png()


def test_nothing_is_fetched_from_elsewhere() -> None:
    with FaultServer(draws) as other:
        port = other.url.rpartition(":")[2].partition("/")[0]
        for url in (
            f"http://127.0.0.1:{port}/a.png?signature=secret",
            f"//127.0.0.1:{port}/a.png",
            f"http://localhost:{port}/a.png",
            "file:///etc/passwd",
            "ftp://127.0.0.1/a.png",
            "http://[::1/a.png",
        ):
            made = one(raw(images({"url": url})))
            assert (made.image, made.reason) == (None, "elsewhere"), url
            assert "secret" not in made.detail
        assert other.gets == []
        assert other.connections == 0


def test_a_user_in_an_address_is_not_followed() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(images({"url": f"http://me:pw@{exchange.host}/a.png"}))

    made = one(behave, files={"/a.png": raw(png())})
    assert made.reason == "elsewhere"
    assert "pw" not in made.detail


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (raw(b"", status=404), "404"),
        (raw(b"", status=302, headers={"Location": "http://127.0.0.1:9/"}), "302"),
    ],
)
def test_an_image_that_cannot_be_fetched_is_told(file: Behaviour, said: str) -> None:
    made = one(raw(images({"url": "/a.png"})), files={"/a.png": file})
    assert made.reason == "unanswered:invalid_reply"
    assert said in made.detail


def test_a_file_too_large_or_broken_off_is_told() -> None:
    def large(exchange: Exchange) -> None:
        exchange.start(100 << 20)
        exchange.write(b"x")

    def broken(exchange: Exchange) -> None:
        exchange.start(1000)
        exchange.write(b"x")
        exchange.drop()

    answer = raw(images({"url": "/a.png"}))
    assert one(answer, files={"/a.png": large}).reason == "too_large"
    assert one(answer, files={"/a.png": broken}).reason == "unanswered:dropped"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (failing(401, message="no key"), "check the key in OPENAI_API_KEY"),
        (failing(404, message="no model"), "check the base URL"),
        (failing(402), "no credit"),
        (failing(429, code="insufficient_quota"), "no credit"),
        (raw(b"", status=307, headers={"Location": "/v2"}), "redirects are not followed"),
        (failing(429, headers={"Retry-After": "86400"}), "asks to wait 1,440 minutes"),
    ],
)
def test_what_hits_every_request_stops_the_job(bad: Behaviour, said: str) -> None:
    with FaultServer(bad) as server, pytest.raises(SyntheticError, match=said) as caught:
        ask(server, texts(20))
    assert "\n" not in str(caught.value)
    assert len(server.requests) < 10


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (raw(images()), "gave no image"),
        (raw(images({"url": "http://127.0.0.1:9/a.png"})), "at other addresses"),
        (failing(400, message="no images here"), "refused each of the first 50"),
    ],
)
def test_what_is_wrong_with_every_image_is_noticed(bad: Behaviour, said: str) -> None:
    with FaultServer(bad) as server, pytest.raises(SyntheticError, match=said):
        ask(server, texts(200))


def test_one_moderated_prompt_is_tried_with_a_harmless_one() -> None:
    with FaultServer(poisoned("0:", failing(403, message="no"), draws)) as server:
        made = ask(server, texts(2), concurrency=1)
        assert server.requests[1]["body"]["prompt"] == HARMLESS
    assert made["t0-0"].reason == "refused_request"
    assert made["t1-0"].image


def test_a_server_that_is_down_is_named() -> None:
    with FaultServer(draws) as server:
        url = server.url
    with pytest.raises(SyntheticError, match="no image model answers at"):
        openai_images_writer(per_text=1, seed=0, base_url=url).__enter__()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs base_url"),
        ({"base_url": "http://u:p@h/v1"}, "user name or password"),
        ({"base_url": "http://h/v1", "size": 0}, "size must be"),
        ({"base_url": "http://h/v1", "concurrency": 0}, "concurrency"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(SyntheticError, match=said):
        openai_images_writer(per_text=1, seed=0, **options).__enter__()  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "bad",
    [
        failing(400, message=f"header Authorization: Bearer {KEY}"),
        failing(401, message=f"Incorrect API key provided: {KEY}"),
        raw(f"<html>{KEY}".encode()),
        raw(json.dumps({"said": KEY}).replace("/", "\\/").encode()),
        raw(images({"url": f"http://{KEY.replace('/', '')}.example/{KEY}"})),
        raw(images({"b64_json": KEY + "%"})),
    ],
)
def test_the_key_is_sent_and_appears_nowhere(
    bad: Behaviour, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    seen = ""
    with FaultServer(bad) as server:
        try:
            seen += repr(ask(server, texts(1), retries=0))
        except SyntheticError as error:
            seen += repr(error)
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    output = capfd.readouterr()
    assert KEY not in seen + output.out + output.err
    assert seen


def test_a_held_signal_ends_the_waiting_at_once() -> None:
    with FaultServer(stall) as server:
        began = time.monotonic()

        def press() -> None:
            server.wait_for(2)
            os.kill(os.getpid(), signal.SIGINT)

        presser = threading.Thread(target=press)
        presser.start()
        with pytest.raises(StopRequested), stop_on_signals(), held():
            ask(server, texts(8), concurrency=2, timeout=60.0)
        presser.join()
        assert time.monotonic() - began < 5
    assert len(server.requests) == 2


def test_leaving_early_ends_what_is_under_way() -> None:
    began = time.monotonic()
    with FaultServer(first(1, draws, stall)) as server:
        with openai_images_writer(
            per_text=1, seed=0, base_url=server.url, concurrency=2, timeout=60.0
        ) as writer:
            requests: list[ImageRequest] = list(writer.requests(texts(8)))
            assert next(iter(writer.write(requests))).image
        assert time.monotonic() - began < 5
    assert len(server.requests) <= 3
