"""Where a node is, without ever saying more of it than ``scheme://host``."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from keeper.errors import Misconfigured

SCHEMES: Final = ("ipc", "ws", "wss", "http", "https")
TEXT_CHARS: Final = 300
SCAN_CHARS: Final = 4_096  # of a longer text the rest is not looked at: it may have megabytes

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,15}://)([^\s/?#\"'<>]*@)?([^\s/?#:\"'<>]*)[^\s\"'<>]*", re.IGNORECASE)


class Endpoint:
    """A URL that does not print, and that is found again in the texts of others."""

    def __init__(self, url: str) -> None:
        """Raises Misconfigured, without quoting the URL."""
        parts = _split(url)
        if parts is None:
            raise Misconfigured("node URL is not valid", help="a socket path, ws://, wss://, http:// or https://")
        self.scheme = parts.scheme or "ipc"
        self.socket = url.removeprefix("ipc:").removeprefix("//")  # for ipc: a path
        self.url = url
        self._shown = f"{self.scheme}://{parts.hostname}" if parts.hostname else self.scheme
        self._secrets = _any_of({self.socket} if self.scheme == "ipc" else _pieces(parts))

    def __repr__(self) -> str:
        return self._shown

    def scrub(self, text: str) -> str:
        """``text`` without our secrets or the tail of any URL, on one line, and short."""
        words = self._secrets.sub("***", _URL.sub(r"\1\3", text[:SCAN_CHARS])).split()
        whole = words if len(text) <= SCAN_CHARS else words[:-1]  # the last may be half a secret
        return " ".join(whole)[:TEXT_CHARS]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        placed = parts.path if parts.scheme in ("", "ipc") else parts.hostname and parts.port != 0
    except ValueError:  # which quotes the URL
        return None
    return parts if placed and (parts.scheme or "ipc") in SCHEMES else None


def _pieces(url: SplitResult) -> set[str]:
    """Everything in a URL that may be a secret: as written, decoded, and as an echoed Authorization header."""
    login = {url.username or "", url.password or "", f"{url.username}:{url.password}"}
    pieces = {url.geturl(), url.path, url.query, url.fragment, *login, *url.path.split("/")}
    pieces |= {value for _, value in parse_qsl(url.query)}
    pieces |= {unquote(piece) for piece in pieces}
    return pieces | {b64encode(piece.encode()).decode() for piece in pieces}


def _any_of(pieces: set[str]) -> re.Pattern[str]:
    longest_first = sorted((piece for piece in pieces if len(piece) > 2), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
