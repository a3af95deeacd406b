"""What is asked and what the answers mean, without a network."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.texts.llm.chat import ChatRequest, Message
from taistore.texts.llm.engines.completions import (
    DETAIL_LENGTH,
    ReplyError,
    model_names,
    one_line,
    read_completion,
    request_body,
    server_error,
)
from tests.faults.server import completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "finish_reason", "data", "id", "error"]
            ),
            inner,
        )
    ),
)


def test_a_request_says_what_the_model_needs_and_nothing_else() -> None:
    request = ChatRequest(
        request_id="r1",
        messages=(Message("system", "write"), Message("user", "a dog")),
        temperature=0.5,
        max_tokens=9,
        seed=3,
    )
    assert request_body(request, model="m", limit="max_tokens") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "write"},
            {"role": "user", "content": "a dog"},
        ],
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "stream": False,
    }


@given(st.text(min_size=1))
def test_any_text_comes_back_as_it_is(text: str) -> None:
    assert read_completion("r", completion(text)).text == text


@given(JSON)
def test_any_json_is_a_reply_or_a_named_failure(content: object) -> None:
    body = json.dumps(content).encode()
    with contextlib.suppress(ReplyError):
        reply = read_completion("r", body)
        assert reply.text or reply.reason
    assert "\n" not in server_error(body).message
    assert isinstance(model_names(body), list)


@given(st.binary())
def test_any_bytes_are_a_named_failure(body: bytes) -> None:
    assert "\n" not in server_error(body).message
    assert isinstance(model_names(body), list)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "too\\nlong", "code": 400}}', "too long", "400"),
        (b'{"error": "model not found"}', "model not found", ""),
        (b'{"detail": "Not Found"}', "Not Found", ""),
        (b'{"object": "error", "message": "bad", "code": "x"}', "bad", "x"),
        (b"<html>Bad\r\nGateway", "<html>Bad Gateway", ""),
        (b"", "", ""),
    ],
)
def test_errors_are_read_however_they_are_wrapped(body: bytes, message: str, code: str) -> None:
    said = server_error(body)
    assert (said.message, said.code) == (message, code)


def test_filtered_answers_are_refusals() -> None:
    reply = read_completion("r", completion("", finish_reason="content_filter"))
    assert (reply.text, reply.reason) == (None, "refused")


def test_details_are_short_and_printable() -> None:
    line = one_line("\x1b[31mred\x00 " + "x" * 1_000)
    assert line.startswith(" [31mred x".strip())
    assert len(line) == DETAIL_LENGTH + 1
    assert line.isprintable()
