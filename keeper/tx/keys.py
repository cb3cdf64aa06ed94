"""Where a signing key comes from, and nothing that prints it.

A key is read once, into an object that hides it; every failure is SecretUnusable, says what to do and quotes nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from keeper.errors import SecretUnusable

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1


class Key:
    """32 secret bytes. They come out through ``reveal`` and in no other way."""

    __slots__ = ("_reveal",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret) < ORDER:
            raise SecretUnusable("this is not a private key", help="a key is 32 bytes, as 64 hexadecimal digits")

        def reveal() -> bytes:
            return secret

        self._reveal = reveal

    def reveal(self) -> bytes:
        return self._reveal()

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be copied or pickled")


# ─── passwords ────────────────────────────────────────────────────────────────────────────────────

Password = Callable[[], str]


# ─── keys ─────────────────────────────────────────────────────────────────────────────────────────


def keystore(path: Path, password: Password) -> Key:
    """The key in a V3 keystore (geth, Foundry, eth-account) of mode 0600. Takes about half a second, by design."""
    text = _private_text(path, "keystore")
    secret = password()
    from eth_account import Account

    try:
        return Key(bytes(Account.decrypt(text, secret)))
    except ValueError as error:
        wrong = "mac mismatch" in str(error).lower()
        problem = "wrong password for" if wrong else "cannot read"
        raise SecretUnusable(f"{problem} keystore {path}", help=_KEYSTORE_HELP[wrong]) from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise SecretUnusable(f"cannot read keystore {path}", help=_KEYSTORE_HELP[False]) from None


_KEYSTORE_HELP: Final = {
    True: "check the password's source; a trailing space counts",
    False: "it must be a version 3 keystore: a JSON file as written by geth, Foundry's cast or eth-account",
}


def from_hex(text: str) -> Key:
    """A raw key, with or without 0x."""
    try:
        return Key(bytes.fromhex(text.strip().removeprefix("0x")))
    except ValueError:
        raise SecretUnusable("this is not a private key", help="64 hexadecimal digits are expected") from None


def _private_text(path: Path, what: str) -> str:
    """A small text file that only its owner may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SecretUnusable(f"{what} {path} can be read by others (mode {mode:04o})", help=f"chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretUnusable(
            f"cannot read {what} {path}: {error.strerror}", help="check the path and its owner"
        ) from None
    except UnicodeDecodeError:
        raise SecretUnusable(f"{what} {path} is not text", help="check the path") from None
