"""Nothing secret leaves through a log, an error or a report.

Two nets. The exact one: whoever brings a secret into the process registers it here, and it is replaced wherever
it appears, in the spellings it may take. The coarse one, for secrets nobody registered: user, path, query and
fragment of URLs where they look like keys, 64 hex digits after a word that says key, and fields named like secrets.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

MASK = "***"
SHORTEST = 6  # a shorter secret is not searched for: it would blank out half of every line

_KEYLIKE = re.compile(r"(?:^|(?<=/))[^/{}$]{16,}(?=/|$)")  # a path segment; vendors' keys have 32 and more
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>\\^`{|}]+")
_KEY_IN_TEXT = re.compile(
    r"(?i)((?:key|secret|password|passphrase|passwd|mnemonic|seed|priv)\w{0,12}\W{1,6})(?:0x)?[0-9a-f]{64}\b"
)
_SECRET_FIELD = re.compile(
    r"(?i)pass(word|phrase|wd)|secret|mnemonic|priv(ate)?_?key|api_?key|authorization|(auth|access|api|bot)_?token"
)

_registered: set[str] = set()
_pattern = re.compile(r"(?!)")  # matches nothing


def register(secret: str | bytes) -> None:
    """Hide this secret from now on: as text, and a key also as hex, decimal, base64 and bytes literal."""
    global _pattern
    if len(secret) >= SHORTEST:
        _registered.update(spelling for spelling in _spellings(secret) if len(spelling) >= SHORTEST)
    longest_first = sorted(_registered, key=len, reverse=True)
    _pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)


def _spellings(secret: str | bytes) -> set[str]:
    if isinstance(secret, bytes):
        number = str(int.from_bytes(secret, "big"))
        return {secret.hex(), repr(secret)[2:-1], base64.b64encode(secret).decode().rstrip("="), number}
    digits = secret.removeprefix("0x")
    raw = bytes.fromhex(digits) if re.fullmatch(r"[0-9a-fA-F]{64}", digits) else secret.encode(errors="replace")
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], unquote(secret)} | _spellings(raw)


def register_url(address: str) -> None:
    """Hide what is secret in a URL: its user and password, key-like path segments, and query."""
    for secret in url_secrets(address):
        register(secret)


def url_secrets(address: str) -> tuple[str, ...]:
    """The parts of a URL that must not be seen; all of it when it is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return (address,)
    user = parts.netloc.rpartition("@")[0]
    segments = [segment for segment in parts.path.split("/") if _KEYLIKE.fullmatch(segment)]
    password = user.partition(":")[2]
    return tuple(part for part in (user, password, *segments, parts.query, parts.fragment) if part)


def url(address: str) -> str:
    """A URL as it may be shown: scheme, host, and the path where it is no key. Local paths stay as they are."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://{MASK}"
    user = f"{MASK}@" if "@" in parts.netloc else ""
    path = _KEYLIKE.sub(MASK, parts.path)
    query = f"?{MASK}" if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{path}{query}"


def exact(line: str) -> str:
    """A text without registered secrets; nothing is guessed."""
    return _pattern.sub(MASK, line)


def text(line: str) -> str:
    """A text of any kind without secrets."""
    line = exact(line)
    line = _URL.sub(lambda match: url(match[0]), line)
    return _KEY_IN_TEXT.sub(rf"\g<1>{MASK}", line)


def names_secret(name: str) -> bool:
    """Whether a field of this name holds a secret, judged by its name alone."""
    return _SECRET_FIELD.search(name) is not None


def value(thing: Any, name: str = "") -> Any:
    """A value of a field without secrets, as plain data; bytes become hex, unknown objects their repr."""
    if thing is None or isinstance(thing, bool | float):
        return thing
    if isinstance(thing, Mapping):
        return {str(key): value(item, str(key)) for key, item in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [value(item, name) for item in thing]
    if names_secret(name):
        return MASK
    if isinstance(thing, int):
        return thing if text(str(thing)) == str(thing) else MASK
    return text(_spelled(thing))


def _spelled(thing: Any) -> str:
    if isinstance(thing, bytes):
        return f"0x{thing.hex()}"
    return str(thing) if isinstance(thing, str) else repr(thing)


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog step that stands before every renderer."""
    return {key: value(item, key) for key, item in event.items()}
