"""Parameter sets: the structs of ``contracts/interfaces/Types.sol``, their codec, and the shipped defaults.

``realistic`` holds the values found by simulation and attack for a chain with 12 s blocks; ``local`` is the same with
every duration a tenth, for worlds that run on a local node.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from enum import IntEnum
from typing import Any, Final, NamedTuple

from keeper.protocols.options.maths import growth
from keeper.units import WAD, wad

SET_TYPE: Final = (
    "((uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,"
    "uint256[],uint256[],uint256[]),"
    "(uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,"
    "uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,"
    "uint256,uint256))"
)


PHASE: Final = 14_400  # seconds in which a new set is phased in


class Shock(IntEnum):
    """How a scenario moves volatility; see ``lib/Scenario.sol``."""

    NONE = 0
    TERM = 1
    RELATIVE = 2
    ABSOLUTE = 3


class Scenario(NamedTuple):
    """One scenario, in bps. ``ln`` is ln(1 + spot) in wad, filled in by the contract."""

    spot: int
    kind: Shock
    vol: int
    weight: int
    ln: int = 0

    def pack(self) -> int:
        low = (self.spot & 0xFFFF) << 8 | self.kind << 24 | (self.vol & 0xFFFF) << 32 | self.weight << 48
        return low | (self.ln & (2**64 - 1)) << 192

    @staticmethod
    def unpack(word: int) -> Scenario:
        return Scenario(
            _signed(word >> 8, 16),
            Shock(word >> 24 & 0xFF),
            _signed(word >> 32, 16),
            word >> 48 & 0xFFFF,
            _signed(word >> 192, 64),
        )


def _signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


class AssetParams(NamedTuple):
    underlying: int
    haircut_mm: int  # wad of value
    haircut_im: int  # wad of value

    def pack(self) -> int:
        """The word of ``Collateral.sol``."""
        return self.underlying | self.haircut_mm << 8 | self.haircut_im << 72

    @staticmethod
    def unpack(word: int) -> AssetParams:
        return AssetParams(word & 0xFF, word >> 8 & 2**64 - 1, word >> 72 & 2**64 - 1)


@dataclass(frozen=True, slots=True)
class RiskParams:
    """Wad unless said otherwise; meanings in ``Types.sol``."""

    mm_factor: int
    im_factor: int
    floor_gross_mm: int
    floor_gross_im: int
    floor_naked: int
    lambda_: int
    confidence: int
    vol_power_short: int
    vol_power_long: int
    vol_days_floor: int  # seconds
    trigger_band: int
    bid_band: int
    stress_cap: int
    depths: tuple[int, ...]  # usd, per underlying
    assets: tuple[AssetParams, ...]
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class AuctionParams:
    """Wad unless said otherwise; meanings in ``Types.sol``."""

    buffer: int
    rho0: int
    rho1: int
    rho2: int
    t1: int  # live seconds
    t2: int  # live seconds
    rho_fund: int
    rho_take: int
    h_take: int
    fee: int
    bid_delay: int  # live seconds
    bid_rounds: int
    grace: int  # seconds
    cure_memory: int  # seconds
    min_slice: int
    dust: int  # usd
    fund_per_auction: int
    fund_per_epoch: int
    take_per_epoch: int  # usd
    epoch: int  # seconds
    rho_sealed: int
    commit_time: int  # live seconds; 0: no sealed stage
    reveal_time: int  # live seconds
    bond: int  # of requirement
    adl_delay: int  # live seconds
    min_account: int  # usd
    reserve_share: int
    impact: int  # at least the pool's share in the published price
    impact_time: int  # seconds


@dataclass(frozen=True, slots=True)
class ParamSet:
    risk: RiskParams
    auction: AuctionParams

    def as_abi(self) -> tuple[Any, ...]:
        """The value for SET_TYPE."""
        r = self.risk
        scalars = astuple(r)[:13]
        risk = (*scalars, r.depths, [a.pack() for a in r.assets], [s.pack() for s in r.scenarios])
        return (risk, astuple(self.auction))

    @staticmethod
    def from_abi(value: tuple[Any, ...]) -> ParamSet:
        (*scalars, depths, assets, scenarios), auction = value
        lists = (
            tuple(depths),
            tuple(AssetParams.unpack(word) for word in assets),
            tuple(Scenario.unpack(word) for word in scenarios),
        )
        return ParamSet(RiskParams(*(*scalars, *lists)), AuctionParams(*auction))


class Ramp(NamedTuple):
    """How a new set is phased in: the one before, and when the new one was accepted. ``Params.ramp``."""

    previous: int = 0
    accepted_at: int = 0

    def growth(self, now: int) -> int | None:
        """wad, of the old requirement, the limit of the new one; None when nothing is phased in."""
        since = now - self.accepted_at
        return growth(since) if self.previous and since < PHASE else None


def span_scenarios() -> tuple[Scenario, ...]:
    """SPAN's layout with Derive's widths: 0, +-6, +-12, +-18 % each with vol up and down, and two tails."""
    grid = [
        Scenario(spot, Shock.TERM, vol, 10_000)
        for spot in (0, 600, -600, 1200, -1200, 1800, -1800)
        for vol in (5000, -3000)
    ]
    tails = [Scenario(-5000, Shock.TERM, 5000, 5000), Scenario(6000, Shock.TERM, 5000, 5000)]
    return (*grid, *tails)


def realistic(depths: tuple[int, ...]) -> ParamSet:
    """Defaults for a chain with 12 s blocks. ``depths``: US dollars (wad) per underlying."""
    collateral = tuple(AssetParams(u, wad("0.02"), wad("0.05")) for u in range(len(depths)))
    risk = RiskParams(
        mm_factor=wad("0.8"),
        im_factor=wad("1.2"),
        floor_gross_mm=wad("0.01"),
        floor_gross_im=wad("0.0125"),
        floor_naked=wad("0.01"),
        lambda_=wad(2),
        confidence=wad("0.02"),
        vol_power_short=wad("0.30"),
        vol_power_long=wad("0.13"),
        vol_days_floor=86_400,
        trigger_band=wad("0.05"),
        bid_band=wad("0.03"),
        stress_cap=wad("1.5"),
        depths=depths,
        assets=(AssetParams(0, 0, 0), *collateral),
        scenarios=span_scenarios(),
    )
    auction = AuctionParams(
        buffer=wad("0.25"),
        rho0=0,
        rho1=wad("0.25"),
        rho2=wad("0.5"),
        t1=600,
        t2=7200,
        rho_fund=wad("0.25"),
        rho_take=wad("0.10"),
        h_take=wad("0.10"),
        fee=wad("0.1"),
        bid_delay=24,
        bid_rounds=2,
        grace=120,
        cure_memory=1800,
        min_slice=WAD // 10_000,
        dust=wad(500),
        fund_per_auction=wad("0.05"),
        fund_per_epoch=wad("0.20"),
        take_per_epoch=wad(10_000_000),
        epoch=86_400,
        rho_sealed=wad("0.10"),
        commit_time=0,
        reveal_time=0,
        bond=wad("0.02"),
        adl_delay=1_800,
        min_account=wad(2_000),
        reserve_share=wad("0.25"),
        impact=wad("0.1"),
        impact_time=600,
    )
    return ParamSet(risk, auction)


def local(depths: tuple[int, ...]) -> ParamSet:
    """``realistic`` with every duration a tenth, scenarios that volatility does not move, the sealed stage on, and no
    minimum account."""
    full = realistic(depths)
    a = full.auction
    return replace(
        full,
        risk=replace(full.risk, stress_cap=WAD),
        auction=replace(
            a,
            t1=60,
            t2=720,
            bid_delay=2,
            grace=12,
            cure_memory=180,
            dust=wad(1),
            epoch=8_640,
            commit_time=4,
            reveal_time=4,
            adl_delay=180,
            min_account=0,
            impact_time=60,
        ),
    )
