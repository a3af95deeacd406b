"""The chat engine against a server that fails in every way; real sockets, short waits."""

import json
import logging
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from taistore.errors import TextError
from taistore.texts.llm.chat import ChatReply, ChatRequest, Message
from taistore.texts.llm.engines.endpoint import KEY_VARIABLE
from taistore.texts.llm.engines.openai import OpenAIEngine
from taistore.texts.llm.engines.retry import CLOCK, LONGEST_PAUSE, LONGEST_WAIT, Clock
from tests.faults.clock import QuickClock, StoppedClock
from tests.faults.server import (
    MODEL,
    Behaviour,
    Exchange,
    FaultServer,
    completion,
    dies_after,
    drop,
    drop_mid_body,
    echo,
    failing,
    first,
    poisoned,
    raw,
    says,
    stall,
    trickle,
    trickle_head,
)

KEY = "sk-test/0123456789abcdef"
WAIT = 0.01


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def requests(count: int, *, said: str = "a dog and a sofa") -> list[ChatRequest]:
    return [
        ChatRequest(
            request_id=f"r{number}",
            messages=(Message("user", f"caption {number}: {said}"),),
            temperature=0.7,
            max_tokens=40,
            seed=number,
        )
        for number in range(count)
    ]


def ask(
    server: FaultServer,
    wanted: Sequence[ChatRequest],
    *,
    concurrency: int = 4,
    timeout: float = 5.0,
    retries: int = 2,
    clock: Clock = CLOCK,
) -> dict[str, ChatReply]:
    with OpenAIEngine(
        server.url,
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        first_wait=WAIT,
        clock=clock,
    ) as engine:
        replies = list(engine.chat(wanted))
    assert sorted(reply.request_id for reply in replies) == sorted(r.request_id for r in wanted)
    return {reply.request_id: reply for reply in replies}


def one(behaviour: Behaviour, *, timeout: float = 5.0, retries: int = 2) -> ChatReply:
    with FaultServer(behaviour) as server:
        return ask(server, requests(1), timeout=timeout, retries=retries)["r0"]


def test_every_request_is_answered_over_few_connections() -> None:
    with FaultServer(echo(0.005)) as server:
        replies = ask(server, requests(60), concurrency=4)
        assert server.most_at_once <= 4
        assert server.connections <= 4
    assert all(reply.text and "a dog and a sofa" in reply.text for reply in replies.values())
    assert len({reply.text for reply in replies.values()}) == 60
    body = server.requests[0]["body"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == (MODEL, 0.7, 40)
    assert "Authorization" not in server.requests[0]["headers"]


@pytest.mark.parametrize(
    "bad",
    [
        drop,
        drop_mid_body,
        failing(408),
        failing(429, headers={"Retry-After": "0"}),
        failing(500),
        failing(502),
        failing(503),
        failing(504),
        failing(520),
        failing(524),
        raw(completion("A dog on a sofa.")[:40]),
        raw(completion("A dog on a sofa.").replace(b"dog", b"d\xff\xfeg")),
        raw(b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": 7}}]}'),
        raw(b"[]"),
        raw(b"[" * 100_000),
        raw(b""),
    ],
)
def test_what_passes_is_asked_again(bad: Behaviour) -> None:
    with FaultServer(first(3, bad, echo())) as server:
        replies = ask(server, requests(3), concurrency=3)
        assert len(server.requests) == 6
    assert all(reply.text for reply in replies.values())


@pytest.mark.parametrize(
    ("bad", "reason", "attempts"),
    [
        (drop, "dropped", 3),
        (drop_mid_body, "dropped", 3),
        (failing(500, message="out of memory"), "server_error", 3),
        (raw(b'{"choices": [{"mess'), "invalid_reply", 3),
        (raw(b"\xff\xfe"), "invalid_reply", 3),
        (raw(b'{"choices": {}}'), "invalid_reply", 3),
        (failing(400, message="prompt of 9,000 tokens is too long"), "refused_request", 1),
        (failing(422), "refused_request", 1),
        (raw(completion("a " * 5_000_000)), "too_large", 1),
        (raw(completion(None)), "empty_reply", 1),
        (raw(completion("")), "empty_reply", 1),
        (raw(completion(None, refusal="I cannot help with that.")), "refused", 1),
    ],
)
def test_what_stays_bad_costs_its_own_request(bad: Behaviour, reason: str, attempts: int) -> None:
    with FaultServer(poisoned("poison", bad, echo())) as server:
        wanted = requests(6)
        wanted[2] = requests(3, said="poison")[2]
        replies = ask(server, wanted)
        asked = [entry for entry in server.requests if "poison" in str(entry["body"])]
    failed = replies.pop("r2")
    assert (failed.text, failed.reason) == (None, reason)
    assert failed.detail
    assert "\n" not in failed.detail
    assert len(asked) == attempts
    assert all(reply.text for reply in replies.values())


@pytest.mark.parametrize("slow", [stall, trickle, trickle_head])
def test_a_request_ends_on_time_whatever_the_server_does(slow: Behaviour) -> None:
    started = time.monotonic()
    reply = one(slow, timeout=0.3, retries=1)
    assert reply.reason == "timeout"
    assert "0.3 s" in reply.detail
    assert time.monotonic() - started < 2


def test_ten_megabytes_are_not_read() -> None:
    written = []

    def endless(exchange: Exchange) -> None:
        # No announced length: the connection's end is the answer's end.
        exchange.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(160):
            exchange.write(b" " * 65_536)
            written.append(65_536)

    assert one(endless).reason == "too_large"
    assert sum(written) < 10_000_000


def test_a_text_cut_at_its_bound_is_marked() -> None:
    reply = one(raw(completion("A dog on a", finish_reason="length")))
    assert (reply.text, reply.truncated) == ("A dog on a", True)


def test_reasoning_is_not_text() -> None:
    reply = one(raw(completion("A dog.", reasoning_content="The user wants a dog.")))
    assert reply.text == "A dog."


def test_a_rate_limit_stops_all_workers() -> None:
    clock = StoppedClock()
    limit = failing(429, headers={"Retry-After": "60"})

    def behave(exchange: Exchange) -> None:
        # The limit comes while four are under way, and holds before the others are answered.
        if exchange.number == 0:
            server.wait_for(4)
            limit(exchange)
        else:
            clock.wait_for(1)
            echo()(exchange)

    with FaultServer(behave) as server, ThreadPoolExecutor(1) as pool:
        replies = pool.submit(ask, server, requests(12), concurrency=4, clock=clock)
        clock.wait_for(4)
        assert len(server.requests) == 4
        server.behaviour = echo()
        clock.put_forward(61)
        assert all(reply.text for reply in replies.result().values())
        assert len(server.requests) == 13


def test_retry_after_may_be_a_date() -> None:
    clock = QuickClock()
    later = formatdate(time.time() + 60, usegmt=True)
    with FaultServer(first(1, failing(503, headers={"Retry-After": later}), echo())) as server:
        assert ask(server, requests(1), clock=clock)["r0"].text
    assert 30 < clock.now() <= 60.25


def test_rate_limits_do_not_use_up_the_retries() -> None:
    limit = failing(429, headers={"Retry-After": "0"})
    with FaultServer(first(12, limit, echo())) as server:
        assert ask(server, requests(1), retries=2)["r0"].text


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}])
def test_rate_limits_without_end_are_given_up(concurrency: int, headers: dict[str, str]) -> None:
    limit = failing(429, message="slow down", headers=headers)
    with FaultServer(first(3, echo(), limit)) as server:
        with pytest.raises(TextError, match=r"nothing but rate limits.*slow down.*again later"):
            ask(server, requests(200), concurrency=concurrency, retries=1 if headers else 0)
        assert len(server.requests) < 80


def test_minutes_of_rate_limits_are_not_sat_out() -> None:
    clock = QuickClock()
    with (
        FaultServer(failing(429)) as server,
        pytest.raises(TextError, match="nothing but rate limits"),
    ):
        ask(server, requests(1), retries=5, clock=clock)
    assert LONGEST_PAUSE <= clock.now() < LONGEST_PAUSE + 2 * LONGEST_WAIT


def test_a_daily_quota_is_not_sat_out() -> None:
    with (
        FaultServer(failing(429, headers={"Retry-After": "86400"})) as server,
        pytest.raises(TextError, match="wait 1,440 minutes"),
    ):
        ask(server, requests(2))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (failing(401, message="bad key"), f"bad key.*check the key in {KEY_VARIABLE}"),
        (failing(403), KEY_VARIABLE),
        (failing(402, message="pay"), "no credit"),
        (failing(429, code="insufficient_quota"), "no credit"),
        (failing(404, message="no model x"), "no model x.*check the base URL.*and the model"),
        (raw(b"", status=307, headers={"Location": "http://127.0.0.1:9/"}), "redirects"),
    ],
)
def test_what_hits_every_request_stops_the_job_at_once(bad: Behaviour, said: str) -> None:
    with FaultServer(bad) as server:
        with pytest.raises(TextError, match=said) as caught:
            ask(server, requests(200), concurrency=2)
        assert len(server.requests) <= 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_one_moderated_prompt_does_not_stop_the_job(status: int, concurrency: int) -> None:
    bad = failing(status, message="moderated")
    with FaultServer(poisoned("poison", bad, echo(0.02))) as server:
        for count in (1, 5):
            # The first that a resumed job asks; below all that is left of it.
            wanted = [*requests(count, said="poison"), *requests(12)[count:]]
            replies = ask(server, wanted, concurrency=concurrency)
            failed = [reply for reply in replies.values() if reply.text is None]
            assert {reply.reason for reply in failed} == {"refused_request"}
            assert all(f"{status} " in r.detail and "moderated" in r.detail for r in failed)
            assert {r.request_id for r in failed} == {
                r.request_id for r in wanted if "poison" in r.messages[0].content
            }
        assert ask(server, requests(2, said="poison"))["r1"].reason == "refused_request"
        asked = [str(entry["body"]["messages"]) for entry in server.requests]
    assert sum("caption 0: poison" in messages for messages in asked) == 3


def test_a_401_for_one_prompt_costs_that_prompt() -> None:
    bad = failing(401, message="moderated")
    with FaultServer(poisoned("poison", bad, echo())) as server:
        wanted = [*requests(5), *requests(6, said="poison")[5:]]
        assert ask(server, wanted, concurrency=1)["r5"].reason == "refused_request"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_withdrawn_in_the_middle_stops_the_job(status: int) -> None:
    with FaultServer(first(20, echo(), failing(status, message="withdrawn"))) as server:
        with pytest.raises(TextError, match=f"withdrawn.*check the key in {KEY_VARIABLE}"):
            ask(server, requests(200), concurrency=4)
        assert len(server.requests) <= 20 + 4 * 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (failing(400, message="temperature does not support 0.9"), "temperature does not support"),
        (failing(422, message="seed: extra field"), "seed: extra field.*run the same command"),
        (raw(completion("", finish_reason="length")), "finish_reason length.*raise --max-tokens"),
        (raw(completion(None, reasoning="Hmm")), "reasoning.*turn thinking off"),
    ],
)
def test_what_is_wrong_with_every_request_is_noticed(bad: Behaviour, said: str) -> None:
    with FaultServer(bad) as server:
        with pytest.raises(TextError, match=said) as caught:
            ask(server, requests(1_000))
        assert 50 <= len(server.requests) <= 50 + 4 * 2
    assert "\n" not in str(caught.value)
    assert "50" in str(caught.value)


@pytest.mark.parametrize("bad", [failing(400), raw(completion(""))])
def test_one_success_shows_that_requests_are_right(bad: Behaviour) -> None:
    behaviour = poisoned("caption 30:", echo(), bad)
    with FaultServer(behaviour) as server:
        replies = ask(server, requests(120))
    assert [reply.request_id for reply in replies.values() if reply.text] == ["r30"]


@pytest.mark.parametrize(
    ("listed", "asked", "others"),
    [
        (["small", "large"], "small", ()),
        (["llama3:latest", "large"], "llama3", ()),
        (["small"], "gpt-4", ("small",)),
        ([], "gpt-4", ()),
    ],
)
def test_a_model_that_is_not_listed_is_told(
    listed: list[str], asked: str, others: tuple[str, ...]
) -> None:
    listing = raw(json.dumps({"data": [{"id": name} for name in listed]}).encode())
    with FaultServer(echo(), listing=listing) as server, OpenAIEngine(server.url, asked) as engine:
        assert engine.others == others


def test_no_listing_and_no_name_is_told() -> None:
    with (
        FaultServer(echo(), listing=raw(b"<html>welcome</html>")) as server,
        pytest.raises(TextError, match=r"lists none: is it an OpenAI-compatible server, and the"),
        OpenAIEngine(server.url),
    ):
        pass


def test_a_server_that_is_down_is_named() -> None:
    with FaultServer(echo()) as server:
        pass
    with pytest.raises(TextError, match=f"no language model answers at {server.url}.*start"):
        ask(server, requests(1))


def test_a_server_that_dies_is_given_up_soon() -> None:
    with FaultServer(dies_after(20, echo())) as server:
        replies: list[ChatReply] = []
        started = time.monotonic()
        with (
            OpenAIEngine(server.url, concurrency=4, retries=2, first_wait=WAIT) as engine,
            pytest.raises(TextError, match=r"answers no more.*run the same command again"),
        ):
            replies.extend(engine.chat(requests(1_000)))
    assert sum(reply.text is not None for reply in replies) == 20
    assert len(replies) < 40
    assert {reply.reason for reply in replies if reply.text is None} <= {"dropped", "unreachable"}
    assert time.monotonic() - started < 5


def test_a_server_that_hangs_is_given_up() -> None:
    with (
        FaultServer(first(3, echo(), stall)) as server,
        pytest.raises(TextError, match="answers no more"),
    ):
        ask(server, requests(50), timeout=0.1, retries=0)


def test_requests_are_taken_when_there_is_room() -> None:
    taken = []

    class Watched(list[ChatRequest]):
        def __iter__(self) -> Iterator[ChatRequest]:
            for request in super().__iter__():
                taken.append(request)
                yield request

    with (
        FaultServer(echo()) as server,
        OpenAIEngine(server.url, concurrency=2) as engine,
    ):
        replies = engine.chat(Watched(requests(500)))
        next(replies)
        server.wait_for(16)
        assert len(taken) == 16
        assert len(server.requests) == 16
        assert len(list(replies)) == 499


def test_leaving_early_ends_what_is_under_way() -> None:
    with FaultServer(first(1, echo(), stall)) as server:
        started = time.monotonic()
        with OpenAIEngine(server.url, concurrency=4, timeout=30) as engine:
            # Kept, so that it is the engine's end that stops the workers, not the iterator's.
            replies = engine.chat(requests(50))
            assert next(replies).text
        assert time.monotonic() - started < 2
    with pytest.raises(RuntimeError, match="not open"):
        next(replies)


def test_a_call_left_early_leaves_the_engine_usable() -> None:
    with FaultServer(echo(0.01)) as server, OpenAIEngine(server.url, concurrency=2) as engine:
        assert next(engine.chat(requests(16))).text
        assert len(list(engine.chat(requests(5)))) == 5
        # What was already on its way, and no more of those that nobody waits for.
        assert len(server.requests) <= 5 + 2 * 2
    with pytest.raises(RuntimeError, match="not open"):
        next(engine.chat(requests(1)))


def test_connections_closed_at_rest_are_no_failures() -> None:
    closed = threading.Semaphore(0)

    def once(exchange: Exchange) -> None:
        echo()(exchange)
        exchange.drop()
        closed.release()

    with (
        FaultServer(once) as server,
        OpenAIEngine(server.url, concurrency=1, retries=0) as engine,
    ):
        for _ in range(3):
            assert [reply.reason for reply in engine.chat(requests(1))] == [""]
            assert closed.acquire(timeout=60)


def test_newer_models_get_the_bound_under_its_new_name() -> None:
    refusal = failing(400, message="use 'max_completion_tokens' instead of 'max_tokens'")

    def behave(exchange: Exchange) -> None:
        old = "max_tokens" in exchange.body
        (refusal if old else echo())(exchange)

    with FaultServer(behave) as server:
        replies = ask(server, requests(5), concurrency=1)
        assert len(server.requests) == 6
    assert all(reply.text for reply in replies.values())


@pytest.mark.parametrize(
    "bad",
    [
        failing(401, message=f"Incorrect API key provided: {KEY}"),
        failing(500, message=f"header Authorization: Bearer {KEY}"),
        failing(400, message=f"key {KEY} may not"),
        raw(completion(f"A dog named {KEY}.")),
        raw(b"", status=302, headers={"Location": f"http://127.0.0.1:9/?key={KEY}"}),
        raw(f"<html>{KEY}".encode()),
        raw(completion(f"A dog named {KEY}.").replace(b"/", rb"\/")),
        raw(completion(f"A dog named {KEY}.").replace(b"s", rb"\u0073")),
        failing(400, message=json.dumps({"inner": KEY}).replace("/", "\\/")),
        failing(400, message="x" * 190 + KEY),
        raw(b'{"error": "' + b"x" * 170 + KEY.replace("/", "\\/").encode(), status=400),
        says(f"NOT HTTP {KEY}\r\n\r\n"),
        says(f"HTTP/1.1 4{KEY} no\r\n\r\n"),
        drop,
    ],
)
def test_the_key_is_sent_and_appears_nowhere(
    bad: Behaviour,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []
    listing = raw(f'{{"data": [{{"id": "model-{KEY}"}}]}}'.encode())
    with FaultServer(bad, listing=listing) as server:
        engine = OpenAIEngine(server.url, retries=1, first_wait=WAIT)
        seen.append(repr(engine))
        try:
            with engine:
                seen.append(engine.model)
                seen.extend(engine.chat(requests(3)))
        except TextError as error:
            seen += [error, *traceback.format_exception(error)]
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    output = capfd.readouterr()
    everything = "".join(map(repr, seen)) + output.out + output.err + caplog.text
    assert KEY[:7] not in everything
    assert KEY[8:] not in everything
    assert len(seen) > 2


def test_a_listing_that_repeats_the_key_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with (
        FaultServer(echo(), listing=says(f"NOT HTTP {KEY}\r\n\r\n")) as server,
        pytest.raises(TextError, match="dropped") as caught,
    ):
        ask(server, requests(1))
    assert KEY[8:] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["x", "dog", "echo-1", "no-keys"])
def test_a_stand_in_for_a_key_is_left_in_texts(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    text = f"A dog, six foxes, no-keys and {MODEL}."
    with (
        FaultServer(raw(completion(text))) as server,
        OpenAIEngine(server.url) as engine,
    ):
        assert engine.model == MODEL
        assert [reply.text for reply in engine.chat(requests(1))] == [text]


def test_redirects_do_not_carry_the_key_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with FaultServer(echo()) as thief:
        away = raw(b"", status=307, headers={"Location": f"{thief.url}/chat/completions"})
        with FaultServer(away) as server, pytest.raises(TextError, match="redirects"):
            ask(server, requests(1))
        assert thief.connections == 0


def test_no_proxy_of_the_environment_gets_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with FaultServer(echo()) as thief, FaultServer(echo()) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, thief.url.removesuffix("/v1"))
        assert ask(server, requests(1))["r0"].text
        assert thief.connections == 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


def test_https_is_as_well_bounded_and_aborted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FaultServer(poisoned("poison", trickle, echo()), tls=context) as server:
        replies = ask(server, requests(20), concurrency=2, retries=0)
        assert all(reply.text for reply in replies.values())
        assert server.connections <= 3
        poison = requests(1, said="poison")
        assert ask(server, poison, timeout=0.3, retries=0)["r0"].reason == "timeout"
        started = time.monotonic()
        with OpenAIEngine(server.url, concurrency=2, timeout=30) as engine:
            mixed = [*requests(1), *requests(5, said="poison")[1:]]
            assert next(engine.chat(mixed)).text
        assert time.monotonic() - started < 3


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        FaultServer(echo(), tls=context) as server,
        pytest.raises(TextError, match=r"no language model answers.*certificate"),
    ):
        ask(server, requests(1))
