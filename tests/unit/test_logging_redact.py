"""What counts as a secret, in every spelling it may take, and what must stay readable."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.observe import redact

KEY = bytes(range(1, 33))
HASH = "0x" + "ab" * 32


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_registered", set())
    monkeypatch.setattr(redact, "_pattern", re.compile(r"(?!)"))


@pytest.mark.parametrize("registered", [KEY, KEY.hex(), f"0x{KEY.hex()}"])
@pytest.mark.parametrize(
    "spelling",
    [
        KEY.hex(),
        f"0x{KEY.hex().upper()}",
        repr(KEY),
        base64.b64encode(KEY).decode(),
        str(int.from_bytes(KEY, "big")),
    ],
)
def test_a_registered_key_is_hidden_in_every_spelling(registered: bytes | str, spelling: str) -> None:
    redact.register(registered)
    assert "***" in redact.text(f"sign {spelling} now") and spelling[6:-6] not in redact.text(f"sign {spelling} now")


@pytest.mark.parametrize("value", [KEY, int.from_bytes(KEY, "big"), [KEY], {"a": (KEY,)}])
def test_a_registered_key_is_hidden_as_a_value(value: object) -> None:
    redact.register(KEY)
    shown = json.dumps(redact.value(value))
    assert KEY.hex() not in shown and str(int.from_bytes(KEY, "big")) not in shown


@pytest.mark.parametrize("spelling", [str, repr, json.dumps, "{!r} inside".format])
def test_a_password_is_hidden_in_quotes_too(spelling: object) -> None:
    password = "pa\"ss\\wo'rd"
    redact.register(password)
    assert callable(spelling) and "ss" not in redact.text(str(spelling(password)))


def test_a_short_secret_does_not_blank_out_words() -> None:
    redact.register("e")
    assert redact.text("here") == "here"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://node.example/v2/0123456789abcdef", "https://node.example/v2/***"),
        ("https://node.example/0123456789abcdef/eth", "https://node.example/***/eth"),
        ("https://user:word@node.example:443/", "https://***@node.example:443/"),
        ("wss://node.example/ws?key=1", "wss://node.example/ws?***"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://node.example/v2/${A_VERY_LONG_VARIABLE}", "https://node.example/v2/${A_VERY_LONG_VARIABLE}"),
        ("https://[broken/0123456789abcdef", "https://***"),
        ("/run/geth/a-long-name-of-a-socket.ipc", "/run/geth/a-long-name-of-a-socket.ipc"),
    ],
)
def test_a_url_keeps_its_host_and_loses_its_key(address: str, shown: str) -> None:
    assert redact.url(address) == shown


def test_the_key_of_a_registered_url_is_hidden_alone() -> None:
    redact.register_url("https://user:password@node.example/v2/0123456789abcdef")
    assert redact.text("GET /v2/0123456789ABCDEF by password") == "GET /v2/*** by ***"


@pytest.mark.parametrize("words", ["key=", "private key: ", 'secret_key": "', "PrivateKey("])
def test_hex_after_a_word_for_key_is_hidden(words: str) -> None:
    assert HASH not in redact.text(f"{words}{HASH}")


@pytest.mark.parametrize(
    "line", [f"tx {HASH} mined", f"block={HASH}", "0x52908400098527886E0F7030069857D2E4169EE7", "a://b", "12:30"]
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redact.text(line) == line


@pytest.mark.parametrize("name", ["password", "PASSPHRASE", "private_key", "privkey", "api_key", "client_secret"])
def test_a_field_named_like_a_secret_is_hidden(name: str) -> None:
    assert redact.value({name: "x"}) == {name: "***"}


@pytest.mark.parametrize("name", ["key", "token", "keystore", "account", "passed"])
def test_a_field_with_an_innocent_name_stays(name: str) -> None:
    assert redact.value({name: "x"}) == {name: "x"}


def test_a_reference_to_a_secret_stays() -> None:
    assert redact.value({"password": {"env": "PASSWORD"}}) == {"password": {"env": "PASSWORD"}}


@given(st.text(min_size=redact.SHORTEST), st.text(), st.text())
def test_a_registered_text_never_comes_through(secret: str, before: str, after: str) -> None:
    redact.register(secret)
    assert secret not in redact.text(before + secret + after).replace(redact.MASK, "")
