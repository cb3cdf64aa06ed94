"""Very many accounts without a chain: a view with a market in it, and books of any size in columns.

Everything follows from a seed. Portfolios have the shapes of ``simulation/portfolios.py`` in spirit: legs of both signs
over several expiries, some with collateral, some in two underlyings, some with sizes that slices leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from keeper.model import BlockRef, Key, Moment
from keeper.protocols.options import oracle
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.maths import ln_wad
from keeper.protocols.options.oracle import REALISTIC as CONFIG
from keeper.protocols.options.params import ParamSet, realistic
from keeper.protocols.options.records import Account, Asset, Clearing, Leg, smile_key
from keeper.units import WAD, wad

NOW = 1_700_006_400
DAYS = (1, 3, 7, 14, 21, 28, 45, 60, 90, 180)
SPOTS = (2_000, 40_000)
STRIKES = tuple(range(70, 131, 6))  # per cent of spot
DEPTHS = (wad(20_000_000), wad(30_000_000))
UNITS = (10**6, 10**18, 10**8)


@dataclass(eq=False)
class Crowd:
    """Implements ``ports.View``: one market at one moment. Edit ``records`` and the next look sees it."""

    records: dict[Key, Any] = field(default_factory=dict)
    sets: ParamSet = field(default_factory=lambda: stored(realistic(DEPTHS)))
    now: int = NOW
    columns: Columns = field(default_factory=Columns)
    ref: BlockRef = field(default_factory=lambda: BlockRef(1, bytes(32), bytes(32), NOW, 0, 0, 1))

    def __post_init__(self) -> None:
        assets = tuple(Asset(bytes([i]) * 20, unit) for i, unit in enumerate(UNITS))
        self.records |= {
            Key("config", 0): CONFIG,
            Key("current", 0): 1,
            Key("params", 1): self.sets,
            Key("clearing", 0): Clearing(0, assets),
        }
        for u in range(len(SPOTS)):
            self.price(u, SPOTS[u])
            for day in DAYS:
                self.smile(u, day, 0.65 - 0.001 * day)

    # ── View ──

    def get(self, key: Key) -> Any:
        return self.columns.get(key) if key.kind == "account" else self.records.get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(sorted(key for key in self.records if key.kind == kind))

    # ── the market ──

    @property
    def at(self) -> Moment:
        return Moment(2, self.now, 0)

    def price(self, u: int, spot: float, confidence: int = 10_000) -> None:
        """Every mark at spot, as after a long calm."""
        feed, _ = oracle.publish(
            oracle.registered(600_000), round(spot * 10**8), self.now, confidence, self.now, CONFIG
        )
        self.records[Key("feed", u)] = feed

    def smile(self, u: int, day: int, atm: float, confidence: int = 10_000) -> None:
        ppm = round(atm * 10**6)
        smile = oracle.Smile(ppm, -90_000, 90_000, 40_000, self.now, confidence, ppm * 10**12)
        self.records[smile_key(u, NOW + day * 86_400)] = smile

    # ── people ──

    def settle(self, accounts: Iterable[tuple[int, Account]]) -> None:
        for id, account in accounts:
            self.columns.put(Key("account", id), account)


def stored(sets: ParamSet) -> ParamSet:
    """As the contract stores it: with the logarithms of the scenarios filled in."""
    filled = tuple(s._replace(ln=ln_wad(WAD + s.spot * 10**14)) for s in sets.risk.scenarios)
    return replace(sets, risk=replace(sets.risk, scenarios=filled))


def series(u: int, day: int, call: bool, per_cent: int) -> int:
    """The upper half of a leg's word."""
    return u << 112 | (NOW + day * 86_400) << 72 | int(call) << 64 | SPOTS[u] * per_cent * 10**6


def person(dice: Random, legs: int = 8, wealth: float = 0.15) -> Account:
    """At most so many legs, and cash that is about so much of their notional: at 0.15 a quarter is under water."""
    shape = dice.random()
    unders = (0, 1) if shape < 0.2 else (dice.choice((0, 0, 0, 1)),)
    count = dice.randint(1, legs) if shape < 0.7 else legs
    words = {
        series(dice.choice(unders), dice.choice(DAYS), dice.random() < 0.5, dice.choice(STRIKES)) for _ in range(count)
    }
    grain = 1 if shape < 0.05 else 10**15  # slices leave odd sizes
    held = tuple(sorted(Leg(word, _size(dice, word, grain)) for word in words))
    need = sum(abs(n) * SPOTS[word >> 112] for word, n in held)
    units = tuple(dice.randint(0, unit * 3) if dice.random() < 0.25 else 0 for unit in UNITS[1:])
    return Account(int(need * dice.gauss(wealth, 0.15)), held, (0, *units), dice.randint(1, 9))


def _size(dice: Random, word: int, grain: int) -> int:
    scale = 1 if word >> 112 else 20
    return max(1, int(abs(dice.gauss(0, scale)) * WAD) // grain) * grain * dice.choice((-1, 1))


def people(seed: int, count: int, legs: int = 8, wealth: float = 0.15) -> Iterator[tuple[int, Account]]:
    """So many, each with the address that its number has."""
    dice = Random(seed)
    return ((int.from_bytes(dice.randbytes(20)), person(dice, legs, wealth)) for _ in range(count))


# ─── by the million ───────────────────────────────────────────────────────────────────────────────

HERD = 1_000  # accounts to a packed answer


def herd(seed: int, count: int, legs: int = 8) -> Iterator[tuple[list[int], bytes]]:
    """So many accounts of one underlying with so many legs each, as the packed reader tells them: (ids, answer).

    About one in a thousand is under water; the others have a slack that is about lognormal in their notional.
    """
    dice = np.random.default_rng(seed)
    words = np.array([_words(series(0, d, c, k)) for d in DAYS for c in (False, True) for k in STRIKES[:10]], np.uint64)
    for start in range(0, count, HERD):
        n = min(HERD, count - start)
        at = np.argsort(dice.random((n, len(words))), axis=1)[:, :legs]
        lots = np.rint(dice.normal(0, 5_000, (n, legs))).astype(np.int64)
        lots += lots == 0
        notional = np.abs(lots).sum(axis=1) * (SPOTS[0] / 1_000)
        cash = notional * (0.1 + np.exp(dice.normal(-0.5, 0.5, n)))
        yield _ids(dice, n), len(UNITS).to_bytes(32) + _answer(words[at], lots, cash)


def _words(word: int) -> tuple[int, int]:
    return word >> 64, word & 2**64 - 1


def _ids(dice: np.random.Generator, n: int) -> list[int]:
    raw = dice.bytes(20 * n)
    return [int.from_bytes(raw[20 * i : 20 * i + 20]) for i in range(n)]


def _answer(words: np.ndarray, lots: np.ndarray, cash: np.ndarray) -> bytes:
    """Heads and legs."""
    n, legs = lots.shape
    heads, out = np.zeros((n, 4), np.uint64), np.zeros((n, legs, 4), np.uint64)
    micro = (cash * 1e6).astype(np.uint64)
    heads[:, 0], heads[:, 1] = (legs << 40) | 1, WAD
    heads[:, 2], heads[:, 3] = _product(micro, 10**12)
    out[:, :, :2] = words
    high, low = _product(np.abs(lots).astype(np.uint64), 10**15)
    below = lots < 0
    out[:, :, 3] = np.where(below, ~low + np.uint64(1), low)
    out[:, :, 2] = np.where(below, ~high + (low == 0), high)
    return heads.astype(">u8").tobytes() + out.astype(">u8").tobytes()


def _product(a: np.ndarray, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower words of a times b, for b below 2^50."""
    wide, mask = np.uint64(32), np.uint64(2**32 - 1)
    low, high = (a & mask) * np.uint64(b & 2**32 - 1), (a >> wide) * np.uint64(b >> 32)
    middle = (a & mask) * np.uint64(b >> 32) + (a >> wide) * np.uint64(b & 2**32 - 1) + (low >> wide)
    return high + (middle >> wide), (middle << wide) | (low & mask)
