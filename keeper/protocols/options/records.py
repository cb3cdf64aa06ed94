"""What the book of the clearing house holds: one immutable record per key.

kind       id                        record
account    account                   Account
auction    account                   Auction
feed       underlying                oracle.Feed
smile      underlying, expiry        oracle.Smile
quoted     underlying, expiry        int, spot at its last message, 8 decimals
step       underlying, boundary      oracle.Step
publisher  0                         bytes, the address whose signature counts, once it was replaced
breaker    0                         oracle.Breaker
config     0                         oracle.Config
params     version                   params.ParamSet
current    0                         int, the accepted version
ramp       0                         params.Ramp: the version before it
clearing   0                         Clearing: insurance, loss index, assets
queue      account                   Queue: an insolvency that has begun
insolvent  account                   int, requirement while in auction with E < 0, usd
caps       0                         Caps: what the epoch has used
flow       underlying                Flow: delta that liquidations have sold
pool       underlying                Pool
push       underlying                tuple of Push, our own recent trades in that pool
backstop   address                   True
guest      address                   True: invited to sealed bids
sealed     account                   Stage: the sealed bids of its last auction that had any
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, cast

from keeper.model import Key
from keeper.ports import View
from keeper.protocols.options.oracle import Breaker, Config, Feed, Smile, Step
from keeper.protocols.options.params import ParamSet, Ramp
from keeper.units import WAD


class Series(NamedTuple):
    """What a leg is of: the upper half of its word."""

    underlying: int
    expiry: int
    is_call: bool
    strike: int  # wad

    @property
    def name(self) -> str:
        return f"{self.underlying}-{self.expiry}-{self.strike / WAD:g}-{'C' if self.is_call else 'P'}"


class Leg(NamedTuple):
    series: int  # word >> 128; sorts by underlying, then expiry
    size: int  # contracts, wad, negative when short


UNUSED: Final = 0xFF000000000000FE  # bits of the upper half of a series that no leg has set
leg: Final = partial(tuple.__new__, Leg)  # ``leg((series, size))``: as ``Leg``, without its argument handling


def pack_leg(underlying: int, expiry: int, is_call: bool, strike: int, size: int) -> int:
    """One leg as the word of ``Leg.sol``. ``strike`` has 8 decimals, ``size`` is wad."""
    series = underlying << 112 | expiry << 72 | int(is_call) << 64 | strike
    return series << 128 | size & (2**128 - 1)


def unpack_leg(word: int) -> Leg:
    size = word & (2**128 - 1)
    return Leg(word >> 128, size - 2**128 if size >> 127 else size)


def series_of(series: int) -> Series:
    return Series(
        series >> 112 & 0xFF, series >> 72 & 0xFFFFFFFFFF, bool(series >> 64 & 1), (series & 2**64 - 1) * 10**10
    )


@dataclass(frozen=True, slots=True)
class Account:
    cash: int  # usd, at ``index``
    legs: tuple[Leg, ...]  # sorted
    collateral: tuple[int, ...]  # native units, by asset id; entry 0 is cash and stays 0
    change_id: int
    index: int = WAD  # loss index at the last change


@dataclass(frozen=True, slots=True)
class Auction:
    """``lib/Auction.sol``, and what the fund paid; ``flagged_at`` 0 when no auction runs, all 0 after a sale."""

    version: int
    scenario: int  # a byte per underlying
    flagged_at: int
    cured_at: int
    since: int
    spent: int  # usd, paid by the fund
    clocks: int  # 36 bits per underlying, see ``auction.elapsed``


@dataclass(frozen=True, slots=True)
class Asset:
    token: bytes
    unit: int  # 10^decimals


@dataclass(frozen=True, slots=True)
class Clearing:
    fund: int = 0  # usd
    assets: tuple[Asset, ...] = ()
    reserve: int = 0  # usd, the gamma reserve
    index: int = WAD  # loss index
    insolvent: int = 0  # usd, sum over accounts


@dataclass(frozen=True, slots=True)
class Queue:
    """``Waterfall.Queue``."""

    flagged_at: int  # of the auction it belongs to
    cash: int  # usd, before the first payment


@dataclass(frozen=True, slots=True)
class SealedBid:
    """``Sealed.Bid``, as its events tell it."""

    bidder: int
    hash: bytes  # empty once revealed
    note: bytes
    bond: int  # usd
    rho: int = 0
    most: int = 0  # 0: nothing to fill


@dataclass(frozen=True, slots=True)
class Stage:
    flagged_at: int  # of the auction
    bids: tuple[SealedBid, ...]


@dataclass(frozen=True, slots=True)
class Caps:
    epoch_start: int = 0
    fund_spent: int = 0  # usd
    taken: int = 0  # usd of requirement


class Flow(NamedTuple):
    """``Liquidator.Flow``."""

    time: int
    usd: int  # signed


@dataclass(frozen=True, slots=True)
class Pool:
    base: int  # reserve, native units
    quote: int


class Push(NamedTuple):
    """One trade of the desk in a pool."""

    time: int
    sold: int  # native units of base; negative when bought


def smile_key(underlying: int, expiry: int) -> Key:
    return Key("smile", underlying << 40 | expiry)


def quoted_key(underlying: int, expiry: int) -> Key:
    return Key("quoted", smile_key(underlying, expiry).id)


def step_key(underlying: int, index: int) -> Key:
    return Key("step", underlying << 40 | index)


class Steps(Sequence[Step]):
    """The settlement steps of one underlying, by time."""

    def __init__(self, view: View, underlying: int) -> None:
        self._view, self._underlying = view, underlying

    def __len__(self) -> int:
        return cast("int | None", self._view.get(Key("steps", self._underlying))) or 0

    def __getitem__(self, index: Any) -> Any:
        return self._view.get(step_key(self._underlying, index))


class State:
    """Typed reading of a view."""

    def __init__(self, view: View) -> None:
        self.view = view

    def _one(self, kind: str, id: int = 0) -> Any:
        return self.view.get(Key(kind, id))

    def account(self, id: int) -> Account | None:
        return cast("Account | None", self._one("account", id))

    def auction(self, id: int) -> Auction | None:
        return cast("Auction | None", self._one("auction", id))

    def feed(self, underlying: int) -> Feed | None:
        """The feed of an underlying that has a price."""
        feed = self.registered(underlying)
        return feed if feed and feed.time else None

    def registered(self, underlying: int) -> Feed | None:
        return cast("Feed | None", self._one("feed", underlying))

    def smile(self, underlying: int, expiry: int) -> Smile | None:
        return cast("Smile | None", self.view.get(smile_key(underlying, expiry)))

    def quoted(self, underlying: int, expiry: int) -> int | None:
        return cast("int | None", self.view.get(quoted_key(underlying, expiry)))

    def steps(self, underlying: int) -> Steps:
        return Steps(self.view, underlying)

    def breaker(self) -> Breaker:
        return cast("Breaker | None", self._one("breaker")) or Breaker()

    def config(self) -> Config:
        """LookupError before it is known."""
        if (found := self._one("config")) is None:
            raise LookupError("the oracle's configuration is not known")
        return cast(Config, found)

    def publisher(self) -> bytes:
        """Address; empty unless he was replaced."""
        return cast("bytes | None", self._one("publisher")) or b""

    def version(self) -> int:
        return cast("int | None", self._one("current")) or 0

    def ramp(self) -> Ramp:
        return cast("Ramp | None", self._one("ramp")) or Ramp()

    def params(self, version: int) -> ParamSet:
        """LookupError for a version that is not known."""
        if (found := self._one("params", version)) is None:
            raise LookupError(f"parameter set {version} is not known")
        return cast(ParamSet, found)

    def clearing(self) -> Clearing:
        return cast("Clearing | None", self._one("clearing")) or Clearing()

    def queue(self, id: int) -> Queue | None:
        return cast("Queue | None", self._one("queue", id))

    def sealed(self, account: int, flagged_at: int) -> tuple[SealedBid, ...]:
        """The sealed bids of one auction, in the order of their commitment."""
        stage = cast("Stage | None", self._one("sealed", account))
        return stage.bids if stage and stage.flagged_at == flagged_at else ()

    def guests(self) -> int:
        """How many are invited to sealed bids."""
        return sum(1 for _ in self.view.keys("guest"))

    def is_guest(self, address: bytes) -> bool:
        return bool(self._one("guest", int.from_bytes(address, "big")))

    def caps(self) -> Caps:
        return cast("Caps | None", self._one("caps")) or Caps()

    def flow(self, underlying: int) -> Flow:
        return cast("Flow | None", self._one("flow", underlying)) or Flow(0, 0)

    def pool(self, underlying: int) -> Pool | None:
        return cast("Pool | None", self._one("pool", underlying))

    def pushes(self, underlying: int) -> tuple[Push, ...]:
        return cast("tuple[Push, ...] | None", self._one("push", underlying)) or ()

    def balance(self, asset: int) -> int:
        return cast("int | None", self._one("balance", asset)) or 0

    def is_backstop(self, address: bytes) -> bool:
        return bool(self._one("backstop", int.from_bytes(address, "big")))
