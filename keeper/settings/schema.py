"""Every option there is, with its unit and its default. ``config/keeper.toml`` tells the same story to operators.

Integers are exact and in the smallest unit: milliseconds, wei, US dollars in wad.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from keeper.errors import Misconfigured
from keeper.observe import redact
from keeper.settings.bind import bind
from keeper.settings.located import Problem, did_you_mean
from keeper.settings.positions import Keys
from keeper.settings.quantities import COIN, DURATION, MONEY
from keeper.settings.secrets import ENVIRON, Endpoint, Endpoints, Secret, listening, path
from keeper.settings.sources import Source, Sources

T = TypeVar("T")

Milliseconds = Annotated[int, BeforeValidator(DURATION.parse), PlainSerializer(DURATION.show, when_used="json")]
Wei = Annotated[int, BeforeValidator(COIN.parse), PlainSerializer(COIN.show, when_used="json")]
Usd = Annotated[int, BeforeValidator(MONEY.parse), PlainSerializer(MONEY.show, when_used="json")]
Folder = Annotated[Path, BeforeValidator(path)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Addresses = Annotated[Endpoints, PlainValidator(Endpoints), PlainSerializer(Endpoints.shown)]

Url = Annotated[Endpoint, PlainValidator(Endpoint), PlainSerializer(str)]


def _written(default: str, *, gt: int | None = None) -> Any:
    """A default in the spelling that operators use."""
    return Field(default, validate_default=True, gt=gt)


def _loopback(written: str) -> str:
    if written:
        listening(written)
    return written


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Keeper(Section):
    name: str = "keeper"
    mode: Literal["dry", "live"] = "dry"
    state: Folder = _written("state")


class Chain(Section):
    id: int = Field(gt=0)
    rpc: Addresses
    block_time: Milliseconds = _written("12s", gt=0)
    confirmations: int = Field(default=3, gt=0)  # blocks, the including one counted
    max_head_age: Milliseconds = _written("60s", gt=0)
    retry_for: Milliseconds = _written("60s")
    mempool: bool = False  # look at calls before they are mined
    sequencer: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")  # uptime feed of a rollup
    sequencer_grace: Milliseconds = _written("1h")  # after it came up

    @model_validator(mode="after")
    def _head_may_age(self) -> Self:
        if self.max_head_age <= self.block_time:
            raise ValueError("max_head_age must exceed block_time, or every head is too old")
        return self


class Signer(Section):
    keystore: Folder | None = None
    password: Secret | None = None
    key: Secret | None = None
    remote: Url | None = None  # eth_signTransaction
    address: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")  # of the remote signer's key
    certificate: Folder | None = None  # ours, for mutual TLS; PEM
    certificate_key: Folder | None = None
    authority: Folder | None = None  # that signed the remote signer's certificate; None: the system's

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if sum(one is not None for one in (self.keystore, self.key, self.remote)) != 1:
            raise ValueError("needs one of: keystore and password, remote and address, key")
        if (self.keystore is None) != (self.password is None):
            raise ValueError("keystore and password belong together")
        if (self.remote is None) != (self.address is None):
            raise ValueError("remote and address belong together")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together")
        if self.key and self.key.prompt:
            raise ValueError('key must be { env = "NAME" } or { file = "path" }')
        return self


class Protocol(Section):
    """``options`` are the adapter's own keys: contracts, account, desk, since and whatever else it knows."""

    model_config = ConfigDict(extra="allow")

    chain: str
    adapter: str

    @property
    def options(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class Strategy(Section):
    use: str = Field(pattern=r"^[^:\s]+:[A-Za-z_]\w*$")  # module:Class or path/to/file.py:Class
    protocols: Names
    options: dict[str, Any] = Field(default_factory=dict)


class Risk(Section):
    max_gas_price: Wei = _written("200 gwei", gt=0)  # per gas
    max_fee_per_tx: Wei = _written("0.05 ETH", gt=0)
    max_fee_per_hour: Wei = _written("0.5 ETH", gt=0)  # worst case of what is not final, and what was paid
    max_fee_per_day: Wei = _written("2 ETH", gt=0)
    max_value_per_tx: Wei = _written("0 wei")
    max_deadline: Milliseconds = _written("5m", gt=0)  # ahead of the head, in a call's own words
    max_signatures: int = Field(default=600, gt=0)  # per minute
    max_inflight: int = Field(default=4, gt=0)
    min_profit: Usd = _written("$5")
    reserve: Usd = _written("$0")
    gas_reserve: Wei = _written("0 wei")  # of each key's coin, for replacements and cancellations only
    max_balance: Wei | None = None  # of each key's coin: more than a hot key should hold
    max_reverts: int = Field(default=8, gt=0)  # in a row
    max_lost: Wei = _written("0.1 ETH", gt=0)  # by reverts in a row
    retries: int = Field(default=3, gt=0)  # of one account, until it is left alone
    quarantine: Milliseconds = _written("1h", gt=0)

    @model_validator(mode="after")
    def _caps_nest(self) -> Self:
        if not self.max_fee_per_tx <= self.max_fee_per_hour <= self.max_fee_per_day:
            raise ValueError("needs max_fee_per_tx <= max_fee_per_hour <= max_fee_per_day")
        return self


class Tx(Section):
    finality: int = Field(default=64, gt=0)  # blocks until nothing is looked at again
    bump_after: int = Field(default=3, gt=0)  # blocks without inclusion
    tip_percentile: int = Field(default=60, gt=0, le=100)
    tip_floor: Wei = _written("0.1 gwei", gt=0)
    tip_cap: Wei = _written("50 gwei", gt=0)
    urgent_slots: int = Field(default=1, ge=0)  # of max_inflight, kept free of housekeeping
    ahead: int = Field(default=4, ge=0, le=16)  # transactions kept signed for what oracles are due to publish
    route: Literal["public", "private", "fallback"] = "public"
    private_blocks: int = Field(default=5, gt=0, le=25)
    keep: Milliseconds = _written("90d", gt=0)  # that what is final stays in the journal
    adopt: bool = False

    @model_validator(mode="after")
    def _tips_fit(self) -> Self:
        if self.tip_floor > self.tip_cap:
            raise ValueError("needs tip_floor <= tip_cap")
        return self


class Relay(Section):
    url: Url
    key: Secret
    method: Literal["eth_sendPrivateTransaction", "eth_sendBundle"] = "eth_sendPrivateTransaction"
    status: Url | None = None  # GET {status}/{hash}: what became of a private transaction
    timeout: Milliseconds = _written("2s", gt=0)


class Record(Section):
    enabled: bool = False
    folder: Folder = _written("recordings")


class Ha(Section):
    store: Secret  # postgresql://…
    lease: Milliseconds = _written("10s", gt=0)


class Http(Section):
    listen: Annotated[str, AfterValidator(_loopback)] = ""  # host:port; empty: nobody listens

    @property
    def place(self) -> tuple[str, int] | None:
        return listening(self.listen) if self.listen else None


class Log(Section):
    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """What ``load`` gives out. ``Source`` says where the values come from; nothing else does."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    version: Literal[1] = Field(default=1, alias="schema")
    keeper: Keeper = Keeper()
    chains: dict[str, Chain] = Field(default_factory=dict)
    signers: dict[str, Signer] = Field(default_factory=dict)
    protocols: dict[str, Protocol] = Field(default_factory=dict)
    strategies: dict[str, Strategy] = Field(default_factory=dict)
    risk: Risk = Risk()
    tx: Tx = Tx()
    relay: Relay | None = None
    record: Record = Record()
    ha: Ha | None = None
    http: Http = Http()
    log: Log = Log()

    _sources: Sources = PrivateAttr()

    def __init__(self, sources: Sources) -> None:
        token = ENVIRON.set(sources.environ)
        try:
            super().__init__(sources=sources)
        finally:
            ENVIRON.reset(token)
        self._sources = sources

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The documents that were read, the strongest first."""
        documents = init_settings()["sources"].documents
        return tuple(Source(settings_cls, document) for document in reversed(documents))

    # ── what the rest of the keeper asks ──

    def bind(self, cls: type[T], section: Literal["protocols", "strategies"], name: str) -> T:
        """The options of a protocol or of a strategy as the dataclass that its code wants; see ``bind``."""
        keys: Keys = (section, name) if section == "protocols" else (section, name, "options")
        return bind(cls, getattr(self, section)[name].options, keys, self._sources)

    def fault(self, keys: Keys, message: str, *, hint: str = "", help: str = "") -> Misconfigured:
        """An error at a value that only its user could judge: a class that is not there, a file that is damaged."""
        return self.refuse([Problem("KC103", message, self._sources.place(keys, value=True), hint, help)])

    def refuse(self, problems: Iterable[Problem]) -> Misconfigured:
        """All of them as one error, in the order in which they stand in the files."""
        return self._sources.refuse(problems)

    def require_environment(self) -> None:
        """Raise Unusable unless every environment variable is set that a run with these settings needs."""
        if problems := [self._unset(keys, name) for keys, name in self._lacking()]:
            raise self._sources.refuse(problems)

    def _lacking(self) -> Iterator[tuple[Keys, str]]:
        """Variables that are not set; a dry run signs nothing and needs no password."""
        for name, chain in self.chains.items():
            yield from ((("chains", name, "rpc"), variable) for variable in chain.rpc.unset)
        for name, signer in self.signers.items() if self.keeper.mode == "live" else ():
            for field, secret in (("key", signer.key), ("password", signer.password)):
                if secret and secret.unset:
                    yield ("signers", name, field, "env"), str(secret.env)
        if self.keeper.mode == "live" and self.ha and self.ha.store.unset:
            yield ("ha", "store", "env"), str(self.ha.store.env)

    def _unset(self, keys: Keys, variable: str) -> Problem:
        what = f"environment variable {variable} is not set"
        hint = did_you_mean(variable, self._sources.environ)
        return Problem("KC109", what, self._sources.place(keys, value=True), hint, f"export {variable}=…")

    @property
    def texts(self) -> tuple[str, ...]:
        """The files as they were read, the weakest first. They hold no secrets: those are kept elsewhere."""
        return tuple(document.text for document in self._sources.documents if document.numbered)

    # ── what they are ──

    def dump(self) -> dict[str, Any]:
        """Everything, defaults included, in canonical spelling and without secrets."""
        shown: dict[str, Any] = redact.value(self.model_dump(mode="json", by_alias=True, exclude_none=True))
        return shown

    def fingerprint(self) -> str:
        """SHA-256 of the dump: two configurations that mean the same have the same."""
        canonical = json.dumps(self.dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def origin(self) -> Mapping[str, tuple[str, ...]]:
        """Dotted key -> the places that set it, the winner first. A key that is not in it has its default."""
        return self._sources.origin
