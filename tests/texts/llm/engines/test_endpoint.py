"""Base URLs are taken apart, and nothing secret stands in one."""

import pytest

from taistore.errors import TextError
from taistore.texts.llm.engines.endpoint import KEY_VARIABLE, Endpoint, key_from_environment
from taistore.texts.llm.engines.openai import OpenAIEngine


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        (" https://api.example.com/v1/ ", "https://api.example.com/v1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_understood(url: str, shown: str) -> None:
    assert str(Endpoint.parse(url)) == shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:s3cret@host/v1", f"user name or password.*{KEY_VARIABLE}"),
        ("http://s3cret@host/v1", "user name or password"),
        ("https://host/v1?api-key=s3cret", "before '?'"),
        ("https://host/v1#s3cret", "before '?'"),
        ("host:8000/v1", "must look like"),
        ("ftp://host/v1", "must look like"),
        ("http:///v1", "must look like"),
        ("http://host:eighty/v1", "not a URL"),
        ("http://host:99999/v1", "not a URL"),
        ("http://host/v 1", "must look like"),
        ("http://ho st/v1", "must look like"),
        ("http://a..b/v1", "not a URL"),
        ("", "must look like"),
    ],
)
def test_a_wrong_base_url_is_refused_without_repeating_it(url: str, said: str) -> None:
    with pytest.raises(TextError, match=said.replace("?", "[?]")) as caught:
        OpenAIEngine(url)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert key_from_environment() == ""
    monkeypatch.setenv(KEY_VARIABLE, " sk-1\n")
    assert key_from_environment() == "sk-1"


@pytest.mark.parametrize("key", ["sk-s3cret\nX-Other: 1", "sk s3cret", "sk-s3créte"])
def test_a_key_that_is_none_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(TextError, match=KEY_VARIABLE) as caught:
        OpenAIEngine("http://localhost:8000/v1")
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 0}, {"timeout": 0.0}, {"retries": -1}, {"first_wait": 0.0}],
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(TextError, match="must be positive"):
        OpenAIEngine("http://localhost:8000/v1", **wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_other_alphabets_are_sent_as_ascii() -> None:
    endpoint = Endpoint.parse("https://bücher.example:8443/é/v1%2Fx")
    assert endpoint.authority == "xn--bcher-kva.example:8443"
    assert endpoint.prefix == "/%C3%A9/v1%2Fx"
