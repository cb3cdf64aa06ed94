"""How far a borrower is from liquidation, and how soon: interest to the second, chances by the operator's sigma."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, log
from typing import Any

import pytest

from keeper.cli.scan import ahead
from keeper.margin import passage
from keeper.model import Key, Moment
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.foresight import DAY, Fall, nearest
from keeper.protocols.morpho_blue.maths import Totals
from keeper.protocols.morpho_blue.records import OraclePrice, Position, market_key, position_key, price_key
from keeper.protocols.morpho_blue.settings import NO_IRM, Settings
from keeper.units import WAD, YEAR
from tests.unit.morpho_shelf import AT, MARKET, NOW, ORACLE, SETTINGS, Shelf, a_market, shelf

OTHER = b"\x08" * 32
BOTH = replace(SETTINGS, markets=tuple(f"0x{m.hex()}" for m in (MARKET, OTHER)))
TOTALS = Totals(10**15, 10**21, 5 * 10**14, 5 * 10**20, NOW)  # half is lent: 50 % a year


def book(
    settings: Settings, *borrowers: tuple[bytes, float], irm: bytes | None = None
) -> tuple[MorphoBlue, Shelf, Any]:
    """Borrowers of these markets, with these healths at the moment of the shelf."""
    adapter, made = MorphoBlue(settings), a_market(TOTALS) if irm is None else a_market(TOTALS, irm=irm)
    view = shelf(made)
    view.records[market_key(OTHER)] = made
    columns = adapter.columns()
    for i, (market, health) in enumerate(borrowers):
        key, shares = position_key(market, i.to_bytes(20)), 10**17
        view.records[key] = Position(shares, 1)
        owed = adapter.health(view, key, AT).requirement
        view.records[key] = Position(shares, round(owed * health / 0.86))
        columns.put(key, view.records[key])
    return adapter, view, columns


def found(settings: Settings, *borrowers: tuple[bytes, float], irm: bytes | None = None, count: int = 9) -> list[Fall]:
    adapter, view, columns = book(settings, *borrowers, irm=irm)
    return nearest(settings, adapter.health, columns, view, AT, count)


def test_interest_alone_is_exact_to_the_second() -> None:
    adapter, view, columns = book(BOTH, (MARKET, 1.1))
    [fall] = nearest(BOTH, adapter.health, columns, view, AT, 9)

    def healthy(seconds: float) -> bool:
        return adapter.health(view, fall.key, Moment(2, AT.timestamp + int(seconds), 0)).healthy

    assert healthy(fall.interest - 1) and not healthy(fall.interest)
    assert fall.interest == pytest.approx(log(1.1) / 0.5 * YEAR, rel=0.01)


def test_without_interest_it_never_comes_by_itself() -> None:
    [fall] = found(BOTH, (MARKET, 1.1), irm=NO_IRM)
    assert (fall.interest, fall.rate) == (inf, 0.0)


def test_distance_and_chances_follow_from_sigma_and_interest() -> None:
    settings = replace(BOTH, sigmas={f"0x{MARKET.hex()}": 8 * WAD // 10})
    [fall], [lazy] = found(settings, (MARKET, 1.05)), found(settings, (MARKET, 1.05), irm=NO_IRM)
    assert fall.falls == pytest.approx(1 / 1.05)
    assert fall.distance == pytest.approx(log(1.05) / (0.8 * DAY**0.5))
    assert lazy.day == pytest.approx(passage.probability(lazy.wall, inf, 0.8 * DAY**0.5))
    assert lazy.even == pytest.approx(passage.even(lazy.wall, inf, 0.8) * YEAR)
    assert fall.rate == pytest.approx(0.5, rel=0.02)
    assert fall.day > 1.01 * lazy.day and fall.even < 0.99 * lazy.even
    assert passage.rising(fall.wall, fall.rate, 0.8, fall.even / YEAR) == pytest.approx(0.5)


def test_without_sigma_it_is_said_why_and_no_number_stands_there() -> None:
    [fall] = found(BOTH, (MARKET, 1.05))
    assert f"0x{MARKET.hex()} has no sigma" in fall.why
    assert all(isnan(x) for x in (fall.distance, fall.day, fall.even))
    [gone] = found(BOTH, (MARKET, 0.99))
    assert (gone.distance, gone.day, gone.even, gone.interest) == (0.0, 1.0, 0.0, 0.0)


def test_the_likeliest_come_first_not_the_nearest() -> None:
    """What stands far in a wild market is likelier to fall than what stands near in a calm one."""
    settings = replace(BOTH, sigmas={f"0x{MARKET.hex()}": 2 * WAD, f"0x{OTHER.hex()}": WAD // 100})
    falls = found(settings, (OTHER, 1.02), (MARKET, 1.08), (MARKET, 1.3), count=2)
    assert [round(f.health, 2) for f in falls] == [1.08, 1.3]
    mixed = replace(BOTH, sigmas={f"0x{MARKET.hex()}": 2 * WAD})
    assert [bool(f.why) for f in found(mixed, (OTHER, 1.02), (MARKET, 1.3))] == [False, True]


def test_scan_shows_the_same_columns_for_borrowers() -> None:
    settings = replace(BOTH, sigmas={f"0x{MARKET.hex()}": WAD})
    adapter, view, columns = book(settings, (MARKET, 1.05), (OTHER, 1.2))
    view.columns = columns  # type: ignore[attr-defined]

    class Desk:
        name, coming, book = "morpho_blue", frozenset[Key](), view

    class Kernel:
        desks, ref = [Desk], view.ref
        moment = staticmethod(lambda: AT)

    Desk.adapter = adapter  # type: ignore[attr-defined]
    rows, notes = ahead(Kernel, 9)  # type: ignore[arg-type]
    first, second = rows
    assert first["sigma"] == 1.0 and 0 < first["day"] < 1 and first["sigmas"] > 0 and first["even_after"] > 0
    assert first["falls"] == pytest.approx(1 / 1.05 - 1) and first["surface"][0]["falls"] == first["falls"]
    assert second["day"] is second["sigmas"] is second["even_after"] is None and second["interest"] > 0
    assert notes == [f"market 0x{OTHER.hex()} has no sigma: name one in the adapter's sigmas"]


@pytest.mark.parametrize(
    ("sigmas", "words"),
    [({"0x1": WAD}, "is not the id"), ({f"0x{OTHER.hex()}": WAD}, "not among"), ({f"0x{MARKET.hex()}": 0}, "above 0")],
)
def test_sigmas_are_of_markets_that_are_followed(sigmas: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(SETTINGS, sigmas=sigmas)


def test_a_price_that_is_missing_puts_nobody_in_order() -> None:
    adapter, view, columns = book(BOTH, (MARKET, 1.05))
    view.records.pop(price_key(ORACLE))
    assert nearest(BOTH, adapter.health, columns, view, AT, 9) == []
    view.records[price_key(ORACLE)] = OraclePrice(10**36)
    assert nearest(BOTH, adapter.health, columns, view, AT, 9)
