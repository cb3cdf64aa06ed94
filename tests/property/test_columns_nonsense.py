"""Whatever nonsense a market, a record or an answer holds: an error that says where, or the contract's own verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from keeper.errors import AdapterFault
from keeper.margin.scan import kernels, table
from keeper.model import Key
from keeper.protocols.options import market, packed
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.columns import IN_CONTRACTS, Columns
from keeper.protocols.options.params import realistic
from keeper.protocols.options.records import Account, Asset, Leg, State, smile_key
from keeper.protocols.options.risk import Price
from keeper.units import WAD
from tests.worlds.crowd import DEPTHS, NOW, Crowd, herd, people, series, stored

NAN = float("nan")
NONE: Any = NAN  # where types forbid it
RISK = stored(realistic(DEPTHS)).risk
Spoil = Callable[[Crowd], None]


def leg(u: int, day: int) -> Leg:
    return Leg(u << 112 | (NOW + day * 86_400) << 72 | 1 << 64 | 2_000 * 10**8, -WAD)


def crowd() -> Crowd:
    c = Crowd()
    c.settle(people(4, 80, 12))
    return c


def on(key: Key, **fields: Any) -> Spoil:
    def spoil(c: Crowd) -> None:
        c.records[key] = replace(c.records[key], **fields)

    return spoil


def feed(**fields: Any) -> Spoil:
    return on(Key("feed", 1), **fields)


def smile(**fields: Any) -> Spoil:
    return on(smile_key(1, NOW + 7 * 86_400), **fields)


def risk(**fields: Any) -> Spoil:
    return lambda c: c.records.update({Key("params", 1): replace(c.sets, risk=replace(RISK, **fields))})


def scenarios(**fields: Any) -> Spoil:
    return risk(scenarios=tuple(s._replace(**fields) for s in RISK.scenarios))


def lost(key: Key) -> Spoil:
    return lambda c: c.records.update({key: None})


REFUSED: dict[str, tuple[Spoil, str]] = {
    **{f"a feed with {name}": (feed(**{name: NAN}), "underlying 1: its feed") for name in ("spot", "peak", "eased")},
    "a price below 0": (feed(spot=-1, slow=-1, fast=-1), "underlying 1 has price -"),
    "a price beyond all": (feed(spot=2**200, slow=2**200, fast=2**200), "beyond what float32"),
    "an infinite price": (feed(spot=float("inf")), "underlying 1: its feed"),
    "no usual volatility": (feed(usual=0), "underlying 1: "),
    "a negative peak": (feed(peak=-5), "underlying 1: "),
    **{
        f"a smile with {name}": (smile(**{name: NAN}), f"expiry {NOW + 7 * 86_400} of underlying 1: its smile")
        for name in ("atm", "smooth", "skew", "curv", "rate", "confidence", "time")
    },
    "a pool without depth": (risk(depths=(DEPTHS[0], 0)), "depth of underlying 1"),
    "no scenarios": (risk(scenarios=()), "the scenarios"),
    "a scenario that takes all": (scenarios(spot=-10_000), "the scenarios"),
    "a weight that is none": (scenarios(weight=NAN), "parameter weight"),
    "a move that is none": (scenarios(spot=NAN), "parameter price move"),
    "a negative factor": (risk(mm_factor=-WAD), "parameter factor"),
    "a factor that is none": (risk(mm_factor=NAN), "parameter factor"),
    "a cap that is none": (risk(stress_cap=NAN), "parameter stress_cap"),
    "an asset without unit": (
        on(Key("clearing", 0), assets=(Asset(b"", 10**6), Asset(b"", 0), Asset(b"", 10**8))),
        "asset 1 has unit 0",
    ),
    "no parameters": (lost(Key("params", 1)), "parameter set 1 is not known"),
    "no configuration": (lost(Key("config", 0)), "configuration is not known"),
    "a time long ago": (lambda c: setattr(c, "now", NOW - 400 * 86_400), "underlying 0: "),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("entry", ["suspects", "assess", "refused", "nearest"])
def test_it_is_an_error_that_says_where(what: str, entry: str) -> None:
    c, (spoil, where) = crowd(), REFUSED[what]
    entries: dict[str, Callable[[], object]] = {
        "suspects": lambda: c.columns.suspects(c, c.at),
        "refused": lambda: c.columns.refused(c, c.at),
        "assess": lambda: c.columns.assess(State(c), c.at, Price.TRIGGER),
        "nearest": lambda: c.columns.nearest(c, c.at, 3),
    }
    entries[entry]()
    spoil(c)
    if "float32" in where and entry in ("assess", "nearest"):
        pytest.skip("float64 holds it")
    with pytest.raises((ValueError, LookupError), match=where):
        entries[entry]()


STRANGE: dict[str, Spoil] = {
    "one of the marks is 0": feed(fast=0),
    "a price of a millionth of a cent": feed(spot=1, slow=10**4, fast=10**4),
    "a price from the future": feed(time=NOW + 1_000),
    "a confidence above all": feed(confidence=20_000),
    "a confidence below nothing": feed(confidence=-5_000),
    "no volatility": smile(atm=0, smooth=0),
    "negative volatility": smile(atm=-10, smooth=-(10**13)),
    "all the volatility there is": smile(atm=10**30),
    "curvature the wrong way": smile(curv=-(10**9)),
    "rates beyond reason": smile(rate=10**9),
    "no collateral counts": risk(assets=()),
    "nothing is left of cash": on(Key("clearing", 0), index=0),
    "no asset is listed": lost(Key("clearing", 0)),
    "expired without a settlement": lambda c: setattr(c, "now", NOW + 3 * 86_400 + 100),
    "expired, all of it": lambda c: setattr(c, "now", NOW + 400 * 86_400),
    "no underlying is known": risk(depths=()),
    "a series that nobody listed": lambda c: c.settle([(1, Account(WAD, (leg(7, 3),), (), 1))]),
    "an expiry that nobody listed": lambda c: c.settle([(1, Account(WAD, (leg(1, 5),), (), 1))]),
}


@pytest.mark.parametrize("what", STRANGE)
def test_where_the_contract_has_an_answer_it_is_that_one_and_else_a_refusal(what: str) -> None:
    c = crowd()
    STRANGE[what](c)
    named, refused = ({key.id for key in found} for found in (c.columns.suspects(c, c.at), c.columns.refused(c, c.at)))
    for key in c.columns.keys("account"):
        try:
            report = Options.health(None, c, key, c.at)  # type: ignore[arg-type]
        except (LookupError, ArithmeticError, ValueError):
            assert key.id in refused
        else:
            assert report.healthy or key.id in named | refused


RECORDS: dict[str, Callable[[Any], Account]] = {
    "cash": lambda a: replace(a, cash=NAN),
    "endless cash": lambda a: replace(a, cash=float("inf")),
    "size": lambda a: replace(a, legs=(*a.legs, Leg(2**119, NONE))),
    "collateral": lambda a: replace(a, collateral=(0, NAN)),
    "index": lambda a: replace(a, index=0),
    "series": lambda a: replace(a, legs=(*a.legs, Leg(2**120, WAD))),
    "side": lambda a: replace(a, legs=(*a.legs, Leg(series(0, 3, True, 100) + 2**65, WAD))),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_is_none_is_not_taken(what: str) -> None:
    c = crowd()
    before = {key: c.columns.get(key) for key in c.columns.keys("account")}
    named = c.columns.suspects(c, c.at)
    for key in (next(iter(before)), Key("account", 99)):
        good = before.get(key) or Account(WAD, (), (), 1)
        with pytest.raises(ValueError, match=f"account 0x{key.id:x}"):
            c.columns.put(key, RECORDS[what](good))
    assert {key: c.columns.get(key) for key in c.columns.keys("account")} == before
    assert c.columns.suspects(c, c.at) == named


@pytest.mark.parametrize("seed", range(60))
def test_an_answer_that_was_garbled_is_refused_or_taken_for_what_it_says(seed: int) -> None:
    """Never one account's legs for another's."""
    dice, c = Random(seed), Crowd()
    [(ids, answer)] = list(herd(5, 30, 6))
    said = bytearray(answer)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(said) // 32) * 32
        wrong = (bytes(32), dice.randbytes(32), b"\xff" * 32, dice.randbytes(1) + bytes(said[at + 1 : at + 32]))
        said[at : at + 32] = dice.choice(wrong)
    try:
        c.columns.load(c, ids, bytes(said))
    except AdapterFault:
        assert not len(c.columns.store)
        return
    told = dict(zip(ids, packed.accounts(bytes(said), len(ids)), strict=True))
    assert {id: c.columns.get(Key("account", id)) for id in ids} == told


def test_bits_above_an_underlying_are_no_underlying() -> None:
    """They would run into the number of the account, and give its leg to the next one."""
    [(ids, answer)] = list(herd(5, 30, 6))
    said, columns = bytearray(answer), Columns()
    said[32 * (1 + len(ids))] = 1  # of the first leg
    with pytest.raises(AdapterFault, match="of no series"):
        columns.load(Crowd(), ids, bytes(said))


@pytest.mark.parametrize("name", ["prices", "stretch", "strike", "left", "fixed", "open", "atm", "rate", "confidence"])
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_table_is_not_built_from_what_is_no_number(name: str, value: float) -> None:
    c = crowd()
    inputs = market.inputs(State(c), c.columns.store.listing, c.at, Price.TRIGGER, RISK)
    rules = market.make_rules(RISK)
    told = name in table.TERMS
    column = np.array(inputs.terms if told else getattr(inputs, name))
    place = (table.TERMS.index(name), inputs.rows[3]) if told else 0 if len(column) == 2 else inputs.rows[3]
    column[place] = value
    spoiled: dict[str, Any] = {"terms" if told else name: column}
    inputs = replace(inputs, **spoiled)
    with pytest.raises(ValueError, match="underlying"):
        table.lanes(table.build(inputs, rules), IN_CONTRACTS)
    if "compiled" in kernels.installed():
        made = kernels.named("compiled").lanes
        assert made is not None and made(inputs, rules, IN_CONTRACTS) is None, "and what is compiled takes it for none"
