"""The protocol's prices beside an exchange's: full option chains through a fall of a third, recorded, not made here.

The contract is held to Python to the wei elsewhere; so this holds both to somebody who never saw either.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from keeper.protocols.options.maths import ln_wad, sqrt, value
from keeper.units import WAD, YEAR
from tests.shared_data import folder

FILE: Final = "deribit_btc_eth_2026-01-27_2026-02-10.csv.gz"
EVERY: Final = 6  # snapshots, of 59
DAYS: Final = (2, 60)  # to expiry
FEWEST: Final = 8  # strikes of one chain
WINGS: Final = 1.0  # |ln(K / F) / sqrt(t)| that a parabola is asked to meet


class Quote(NamedTuple):
    call: bool
    strike: float  # US dollars
    forward: float  # US dollars
    years: float
    vol: float  # of the mark, a fraction
    mark: float  # in units of the forward
    spread: float  # ask less bid, in units of the forward; NaN where one is missing

    @property
    def x(self) -> float:
        return float(np.log(self.strike / self.forward) / np.sqrt(self.years))


Chain = Sequence[Quote]


def source() -> Path:
    found = folder("deribit-chains", FILE)
    if found is None:
        pytest.skip("no recorded option chains beside this repository")
    return found


@cache
def chains() -> dict[tuple[str, str], list[Quote]]:
    """(snapshot, expiry's future) -> quotes of ether, those that are marked above nothing."""
    found: dict[tuple[str, str], list[Quote]] = defaultdict(list)
    with gzip.open(source(), "rt") as lines:
        rows = [row for row in csv.DictReader(lines) if row["currency"] == "ETH"]
    chosen = set(sorted({row["timestamp"] for row in rows})[::EVERY])
    for row in rows:
        if row["timestamp"] in chosen and DAYS[0] <= float(row["time_to_maturity"]) * 365 <= DAYS[1]:
            found[row["timestamp"], row["underlying_name"]].append(_quote(row))
    return {key: kept for key, quotes in found.items() if len(kept := _near(quotes)) >= FEWEST}


def _quote(row: dict[str, str]) -> Quote:
    bid, ask = (float(row[name] or "nan") for name in ("bid_price", "ask_price"))
    forward, years, vol, mark = (
        float(row[name]) for name in ("futures_price", "time_to_maturity", "implied_volatility", "mark_price")
    )
    return Quote(row["option_type"] == "call", float(row["strike"]), forward, years, vol, mark, ask - bid)


def _near(quotes: Chain) -> list[Quote]:
    return [q for q in quotes if abs(q.x) <= WINGS and q.mark > 0.0001]


def priced(q: Quote, vol: float) -> float:
    """By the integers of the contract, in units of the forward."""
    forward, strike = round(q.forward * 10**8) * 10**10, round(q.strike * 10**8) * 10**10
    root = sqrt(round(q.years * YEAR) * 10**36 // YEAR)
    w = round(vol * WAD) * root // WAD
    return value(q.call, forward, strike, ln_wad(forward * WAD // strike), w)[0] / forward


def fitted(chain: Chain) -> NDArray[np.float64]:
    """(atm, skew, curv) of the least squares through the marks' volatilities."""
    x, vol = np.array([q.x for q in chain]), np.array([q.vol for q in chain])
    return np.asarray(np.linalg.lstsq(np.vander(x, 3, increasing=True), vol, rcond=None)[0])


def smiled(q: Quote, smile: NDArray[np.float64]) -> float:
    return priced(q, float(smile @ (1.0, q.x, q.x * q.x)))


def test_o2_with_the_exchanges_volatility_prices_are_the_exchanges() -> None:
    """Half within 0.3 bp of the future's price, 99 of 100 within 4 bp: they saw a forward a moment older."""
    off = [abs(priced(q, q.vol) - q.mark) for chain in chains().values() for q in chain]
    assert len(off) > 1_000
    assert np.median(off) < 3e-5 and np.quantile(off, 0.99) < 4e-4, np.quantile(off, (0.5, 0.9, 0.99, 1))


def test_o2_one_parabola_prices_a_whole_chain() -> None:
    """Three numbers for an expiry: half of its marks within 1.5 bp of the future's price, 99 of 100 within 8 bp, and
    nearly all of them nearer than the quotes are to each other."""
    smiles = [(chain, fitted(chain)) for chain in chains().values()]
    pairs = [(abs(smiled(q, smile) - q.mark), q.spread) for chain, smile in smiles for q in chain]
    off, spread = np.array(pairs).T
    known = np.isfinite(spread)
    assert np.median(off) < 1.5e-4 and np.quantile(off, 0.99) < 8e-4, np.quantile(off, (0.5, 0.9, 0.99, 1))
    assert np.mean(off[known] <= spread[known]) > 0.98, np.mean(off[known] <= spread[known])


def test_the_simulated_smiles_have_the_shape_of_the_recorded_ones() -> None:
    """``simulation/surface.py`` says so."""
    smiles = np.array([fitted(chain) for chain in chains().values()])
    skew, curv = np.median(smiles[:, 1]), np.median(smiles[:, 2])
    assert -0.11 < skew < -0.06 and 0.07 < curv < 0.13, (skew, curv)
