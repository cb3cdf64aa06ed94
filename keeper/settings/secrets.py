"""Secrets by reference: settings say where a secret is kept, and only ``reveal`` fetches it.

Neither class prints, dumps or compares what it refers to, and whatever ``reveal`` returns is hidden from every
log from then on.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from getpass import getpass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from keeper.errors import Misconfigured, SecretUnusable
from keeper.observe import redact

# The variables that references mean, while settings are read: the library's constructor passes no context on.
ENVIRON: ContextVar[Mapping[str, str]] = ContextVar("environ", default=os.environ)

REFERENCE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_ADDRESS = re.compile(r"(?:https?|wss?)://[^\s/?#]+\S*|ipc:.+|/.+|\S+\.ipc")
_LOOPBACK = re.compile(r"127(\.\d+){3}|localhost|::1")


def variable(name: object) -> str:
    """The name of an environment variable. The text is not repeated: it may be the secret itself."""
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ValueError("is not the name of an environment variable; write it like MAINNET_RPC")
    return name


def path(written: object) -> Path:
    """A path, with ``~`` for the home folder."""
    if not isinstance(written, str) or not written:
        raise ValueError("needs a path, in quotes")
    return Path(written).expanduser()


class Endpoint:
    """Where a node listens: a URL or an IPC path, in which ``${NAME}`` stands for an environment variable."""

    __slots__ = ("_address", "unset", "written")

    def __init__(self, written: object) -> None:
        """ValueError when it is no address; a variable that is not set is only found out by ``reveal``."""
        if not isinstance(written, str):
            raise ValueError("needs a URL or an IPC path, in quotes")
        self.written, environ = written, ENVIRON.get()
        names = [variable(name) for name in REFERENCE.findall(written)]
        self.unset = tuple(name for name in names if not environ.get(name))
        address = REFERENCE.sub(lambda match: environ.get(match[1], ""), written)
        self._address = SecretStr(str(path(address)) if address.startswith("~") else address)
        if not self.unset:
            self._check()
            redact.register_url(self._address.get_secret_value())

    def _check(self) -> None:
        address = self._address.get_secret_value()
        if not _ADDRESS.fullmatch(address) or redact.url_secrets(address) == (address,):
            raise ValueError("is neither an http(s) or ws(s) URL nor the path of an IPC socket")
        if re.match("http:|ws:", address) and not loopback(address) and redact.url_secrets(address):
            raise ValueError("sends its key in plain text; use https or wss")

    def reveal(self) -> str:
        """The address itself. Misconfigured when a variable is not set."""
        if self.unset:
            raise Misconfigured(f"environment variable {self.unset[0]} is not set", help=f"export {self.unset[0]}=…")
        return self._address.get_secret_value()

    def __str__(self) -> str:
        return redact.url(self.written)

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"


class Endpoints(tuple[Endpoint, ...]):
    """The endpoints of one chain, the preferred one first: written as one address, or as a list of them."""

    __slots__ = ()

    def __new__(cls, written: object) -> Self:
        """ValueError when there is none, or one is no address."""
        listed = written if isinstance(written, list | tuple) else [written]
        if not listed:
            raise ValueError("needs at least one URL or IPC path")
        return super().__new__(cls, map(Endpoint, listed))

    @property
    def unset(self) -> tuple[str, ...]:
        return tuple(name for endpoint in self for name in endpoint.unset)

    def reveal(self) -> tuple[str, ...]:
        """The addresses themselves. Misconfigured when a variable is not set."""
        return tuple(endpoint.reveal() for endpoint in self)

    def shown(self) -> str | list[str]:
        texts = [str(endpoint) for endpoint in self]
        return texts[0] if len(texts) == 1 else texts


def listening(written: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:9797". ValueError unless it is an address of this machine."""
    host, _, port = written.rpartition(":")
    bare = host.strip("[]")
    try:
        loopback = bare == "localhost" or ip_address(bare).is_loopback
    except ValueError:
        loopback = False
    if not loopback or not port.isdecimal() or int(port) > 65535:
        raise ValueError('needs a loopback address and a port, like "127.0.0.1:9797"')
    return bare, int(port)


def loopback(address: str) -> bool:
    """Whether a URL stays on this machine."""
    host = re.match(r"\w+://(?:[^/?#]*@)?(?:\[([^]]*)\]|([^/?#:]*))", address)
    return bool(host and _LOOPBACK.fullmatch(host[1] or host[2] or ""))


class Secret(BaseModel):
    """``{ env = "NAME" }``, ``{ file = "path" }``, ``{ credential = "name" }`` or ``{ prompt = true }``.

    A credential is what systemd's LoadCredential= or LoadCredentialEncrypted= puts where only the service can read it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    env: Annotated[str, BeforeValidator(variable)] | None = None
    file: Annotated[Path, BeforeValidator(path)] | None = None
    credential: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    prompt: Literal[True] | None = None
    _held: SecretStr | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(one is not None for one in (self.env, self.file, self.credential, self.prompt)) != 1:
            raise ValueError('needs exactly one of env = "NAME", file = "path", credential = "name", prompt = true')
        if self.env and (held := ENVIRON.get().get(self.env)):
            self._held = SecretStr(held)
        return self

    @property
    def unset(self) -> bool:
        return self.env is not None and self._held is None

    def reveal(self, what: str = "password") -> str:
        """The secret. SecretUnusable when it cannot be had, or when others could read it."""
        secret = self._from_env() if self.env else _asked(what) if self.prompt else self._from_file()
        redact.register(secret)
        return secret

    def _from_env(self) -> str:
        if self._held is None:
            raise SecretUnusable(f"environment variable {self.env} is not set", help=f"export {self.env}=…")
        os.environ.pop(str(self.env), None)  # processes started from here do not inherit it
        return self._held.get_secret_value()

    def _from_file(self) -> str:
        file = self.file or _credentials() / str(self.credential)
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise SecretUnusable(f"{file} can be read by others", help=f"chmod 600 {file}")
            return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretUnusable(f"cannot read {file}: {type(error).__name__}") from None


def _credentials() -> Path:
    """Where systemd put this service's credentials."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretUnusable(
            "there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set",
            help="run as a service with LoadCredentialEncrypted=, or use { file = … }",
        )
    return Path(folder)


def _asked(what: str) -> str:
    if not sys.stdin.isatty():
        raise SecretUnusable(
            f"cannot ask for the {what}: no terminal", help='use { env = "NAME" } or { file = "path" }'
        )
    return getpass(f"{what}: ")
