import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account

from keeper.errors import SecretUnusable
from keeper.tx.keys import Key, from_hex, keystore

SECRET = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def locked() -> str:
    return json.dumps(Account.encrypt(SECRET, PASSWORD, kdf="pbkdf2", iterations=1))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "file"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.mark.fault("K01")
def test_a_keystore_opens_with_its_password(locked: str, write: Callable[[str], Path]) -> None:
    assert keystore(write(locked), lambda: PASSWORD).reveal() == SECRET


def _wrong_version(text: str) -> str:
    return json.dumps(json.loads(text) | {"version": 1})


@pytest.mark.fault("K04")
@pytest.mark.parametrize(
    ("damage", "password", "message"),
    [
        (str, "incorrect horse", "wrong password for keystore"),
        (lambda text: text[:50], PASSWORD, "cannot read keystore"),
        (lambda text: "{}", PASSWORD, "cannot read keystore"),
        (lambda text: "[]", PASSWORD, "cannot read keystore"),
        (lambda text: '{"version": 3, "crypto": 7}', PASSWORD, "cannot read keystore"),
        (_wrong_version, PASSWORD, "cannot read keystore"),
    ],
)
def test_a_keystore_that_does_not_open_says_why_and_quotes_nothing(
    locked: str, write: Callable[[str], Path], damage: Callable[[str], str], password: str, message: str
) -> None:
    with pytest.raises(SecretUnusable, match=message) as caught:
        keystore(write(damage(locked)), lambda: password)
    assert caught.value.help
    report = "".join(traceback.format_exception(caught.value))
    assert "horse" not in report.replace("_horse", "")
    assert "MAC" not in report


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_keystore_that_others_can_read_is_refused(mode: int, locked: str, write: Callable[..., Path]) -> None:
    path = write(locked, mode)
    with pytest.raises(SecretUnusable, match=f"mode {mode:04o}") as caught:
        keystore(path, lambda: PASSWORD)
    assert caught.value.help == f"chmod 600 {path}"


def test_a_missing_keystore_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=r"cannot read keystore .*nowhere: No such file"):
        keystore(tmp_path / "nowhere", lambda: PASSWORD)


def test_binary_junk_is_not_a_keystore(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe\x00")
    path.chmod(0o600)
    with pytest.raises(SecretUnusable, match="is not text"):
        keystore(path, lambda: PASSWORD)


@pytest.mark.parametrize("text", [SECRET.hex(), f"0x{SECRET.hex()}", f" 0x{SECRET.hex()}\n"])
def test_a_raw_key_is_hexadecimal(text: str) -> None:
    assert from_hex(text).reveal() == SECRET


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 32, "ff" * 32, "11" * 31, "é" * 64])
def test_what_is_not_a_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SecretUnusable) as caught:
        from_hex(text)
    report = "".join(traceback.format_exception(caught.value))
    assert not text or text not in report


def test_a_key_must_lie_on_the_curve() -> None:
    with pytest.raises(SecretUnusable):
        Key(b"\0" * 32)
