"""Secrets made to be found again: whatever a run leaves behind is searched for them, in every spelling they may take.

canaries = Canaries()
password = canaries.text("password")          # a new secret; use it as one
key = canaries.key("signer")
…
assert canaries.hits(output) == []            # "password as base64", had it been there
assert canaries.hits_below(folder) == []
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

T = TypeVar("T", str, bytes)

SHORTEST: Final = 8  # characters of a spelling that prove anything


@dataclass
class Canaries:
    _spellings: dict[str, str] = field(default_factory=dict, repr=False)  # lower case -> which, and how

    def text(self, name: str) -> str:
        """A new password or token, with characters that are written in several ways."""
        return self.watch(name, f"Canary/{secrets.token_hex(8)}+é\"'&")

    def token(self, name: str) -> str:
        """A new one for a place where such characters cannot stand, such as a path."""
        return self.watch(name, f"Canary{secrets.token_hex(12)}")

    def key(self, name: str) -> bytes:
        made = secrets.token_bytes(32)
        self.watch(name, made)
        return made

    def watch(self, name: str, secret: T) -> T:
        """Look for this one too."""
        for how, spelling in _spelled(secret):
            if len(spelling) >= SHORTEST:
                self._spellings.setdefault(spelling.lower(), f"{name} as {how}")
        return secret

    def hits(self, *outputs: str | bytes) -> list[str]:
        """Which secrets are in there, and how they are written."""
        found = set[str]()
        for output in outputs:
            text = (output.decode("utf-8", "backslashreplace") if isinstance(output, bytes) else output).lower()
            found |= {name for spelling, name in self._spellings.items() if spelling in text}
        return sorted(found)

    def hits_below(self, folder: Path, *, but: tuple[Path, ...] = ()) -> list[str]:
        """The same for the contents and names of all files in a folder; ``but``: where secrets are kept on purpose."""
        files = [path for path in folder.rglob("*") if path not in but]
        found = (self.hits(str(path), path.read_bytes() if path.is_file() else b"") for path in files)
        return sorted({f"{path.name}: {hit}" for path, hits in zip(files, found, strict=True) for hit in hits})


def _spelled(secret: str | bytes) -> Iterator[tuple[str, str]]:
    raw = secret.encode() if isinstance(secret, str) else secret
    if isinstance(secret, str):
        yield from (("text", secret), ("JSON", json.dumps(secret)[1:-1]), ("URL", quote(secret, safe="")))
        yield "repr", repr(secret)[1:-1]
    else:
        yield from (("number", str(int.from_bytes(raw))), ("repr", repr(raw)[2:-1]))
    yield "hex", raw.hex()
    yield "base64", b64encode(raw).decode().rstrip("=")
    yield "URL base64", urlsafe_b64encode(raw).decode().rstrip("=")
    yield "list of numbers", ", ".join(map(str, raw))
    yield "compact list of numbers", ",".join(map(str, raw))
