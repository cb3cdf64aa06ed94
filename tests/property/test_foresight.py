"""What comes next, against what the contract's own arithmetic says once it has come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf, isnan
from random import Random

import numpy as np
import pytest

from keeper.errors import Broken
from keeper.margin.portfolio import Health
from keeper.model import Delta, Key, Log, Moment, Pending
from keeper.ports import View
from keeper.protocols.options import foresight
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.foresight import LEVELS, Question, climb, flat, nearest, stress
from keeper.protocols.options.records import Account, State
from keeper.protocols.options.risk import Price
from keeper.protocols.options.whatif import moved, published
from keeper.protocols.whatif import WhatIf
from keeper.simulation.node import Anvil
from keeper.units import WAD, wad
from tests.worlds.options import EXPIRIES, GENESIS, SPOTS, OptionsWorld, legs

pytestmark = pytest.mark.chain
BOTH = (0, 1)


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        yield w


def accounts(seed: int, count: int) -> dict[int, Account]:
    """Short-biased accounts, some with collateral, some near their breach, one that is in it."""
    dice, found = Random(seed), dict[int, Account]()
    for n in range(1, count + 1):
        held = {
            (dice.randrange(2), dice.choice(EXPIRIES), dice.random() < 0.5, dice.randrange(70, 140)): dice.uniform(
                -3, 1
            )
            for _ in range(dice.randint(1, 4))
        }
        sizes = [(u, e, c, SPOTS[u] * k / 100, round(x, 3)) for (u, e, c, k), x in held.items() if round(x, 3)]
        found[n] = Account(wad(dice.randrange(1_000, 40_000)), legs(*sizes), (0, dice.randrange(2) * 10**18, 0), n)
    return found


def laid(world: OptionsWorld, held: dict[int, Account]) -> tuple[Columns, WhatIf, Moment]:
    columns = Columns()
    for n, account in held.items():
        columns.put(Key("account", n), account)
    view = WhatIf(world.book, {Key("account", n): account for n, account in held.items()})
    return columns, view, Moment(0, world.now + 4, 0)


# ─── breaches ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
def test_a_breach_is_where_exact_health_changes(world: OptionsWorld, seed: int) -> None:
    columns, view, at = laid(world, accounts(seed, 25))
    found = nearest(world.adapter.health, columns, view, at, 25)
    assert len(found) >= 10
    for b in found:
        for move in (b.falls, b.rises):
            if isnan(move):
                continue
            health = [world.adapter.health(moved(view, BOTH, f), b.key, at).healthy for f in (move, move**0.999)]
            assert health[0] is False, (b, move)
            if move != 1.0:
                assert world.adapter.health(moved(view, BOTH, 1 + (move - 1) * 0.98), b.key, at).healthy, (b, move)


def test_the_list_names_those_in_breach_and_begins_with_them(world: OptionsWorld) -> None:
    held = accounts(7, 30)
    columns, view, at = laid(world, held)
    low = {key.id for key in columns.suspects(view, at)}
    found = nearest(world.adapter.health, columns, view, at, 30)
    begins = [b.key.id for b in found[: len(low)]]
    assert low and set(begins) == low
    assert all(b.distance == 0 and b.day == 1 and b.even == 0 for b in found[: len(low)])
    assert [b.day for b in found] == sorted((b.day for b in found), reverse=True)


def test_the_surface_agrees_with_exact_health_at_other_vols(world: OptionsWorld) -> None:
    columns, view, at = laid(world, accounts(3, 30))
    checked = 0
    for b in nearest(world.adapter.health, columns, view, at, 30):
        for vol, (falls, rises) in b.surface.items():
            for move in (falls, rises):
                if isnan(move) or move == 1.0:
                    continue
                out, inside = (
                    world.adapter.health(moved(view, BOTH, 1 + (move - 1) * k, vol), b.key, at) for k in (1.06, 0.94)
                )
                assert not out.healthy and inside.healthy, (b.key, vol, move)
                checked += 1
    assert checked > 30


def test_louder_vols_bring_short_accounts_nearer(world: OptionsWorld) -> None:
    short = {1: Account(wad(3_000), legs((0, EXPIRIES[1], True, 2_200, -5), (0, EXPIRIES[1], False, 1_800, -5)), (), 1)}
    columns, view, at = laid(world, short)
    [b] = nearest(world.adapter.health, columns, view, at, 1)
    falls = [b.surface[v][0] for v in (1.0, 1.25, 1.5)]
    assert falls == sorted(falls) and 0 < b.distance < inf and 0 < b.day < 1


def test_who_owes_nothing_is_never_next(world: OptionsWorld) -> None:
    columns, view, at = laid(world, {1: Account(wad(5), (), (), 1)})
    assert nearest(world.adapter.health, columns, view, at, 5) == []


def test_no_volatility_hides_nobody(world: OptionsWorld) -> None:
    """Who is in breach is named though nothing moves, and is so now; the others never will be."""
    columns, view, at = laid(world, accounts(7, 30))
    quiet = {key: replace(view.get(key), atm=0, smooth=0) for key in view.keys("smile")}
    still = WhatIf(view, quiet)
    found = nearest(world.adapter.health, columns, still, at, 30)
    low = {key.id for key in columns.suspects(still, at)}
    assert low and {b.key.id for b in found if b.day == 1} == low
    assert {b.day for b in found if b.key.id not in low} <= {0}


# ─── the market after an update ───────────────────────────────────────────────────────────────────


def test_a_pending_price_is_the_feed_that_follows(world: OptionsWorld) -> None:
    with world.undone():
        data = world.price_call(0, SPOTS[0] * 0.93, world.now + 7)
        ahead = published(world.book, data, world.now + 7)
        assert ahead is not None
        world.publish(0, SPOTS[0] * 0.93, world.now + 7)
        assert State(ahead).feed(0) == world.state.feed(0)


def test_other_calls_are_no_publication(world: OptionsWorld) -> None:
    data = world.price_call(0, SPOTS[0], world.now + 7)
    late = world.price_call(0, SPOTS[0], world.now - 1_000)
    assert [published(world.book, d, world.now) for d in (b"", data[:40], b"\1\2\3\4" + data[4:], late)] == [None] * 4


def refused(world: OptionsWorld, data: bytes, now: int) -> bool:
    """Whether the contract would not take it at ``now``; else it has taken it."""
    try:
        world.send(world.publisher, world.dep.oracle, data, now)
    except Broken as error:
        assert "custom error" in str(error)
        return True
    return False


SPOT = SPOTS[0] * 10**8
PRICES = {
    "usual": {},
    "a tenth less": {"spot": round(SPOT * 0.9)},
    "trips": {"spot": round(SPOT * 0.8)},
    "trips upwards": {"spot": round(SPOT * 1.2)},
    "none": {"spot": 0},
    "too dear": {"spot": 2**50},
    "nearly so": {"spot": 2**50 - 1},
    "the cheapest": {"spot": 1},
    "too sure": {"confidence": 10_001},
    "unsure": {"confidence": 0},
    "of no underlying": {"u": 3},
    "from afar": {"ahead": 2**40},
    "too old": {"ahead": -301},
    "just not": {"ahead": -3},
}


@pytest.mark.parametrize("what", PRICES)
def test_of_prices_the_contract_takes_what_is_foreseen_and_refuses_the_rest(world: OptionsWorld, what: str) -> None:
    """Feed and breaker are what the contract makes of them."""
    with world.undone():
        now = world.now + 400 if what == "too old" else world.now + 7
        more = {"u": 0, "spot": SPOT, "ahead": 0, "confidence": 10_000} | PRICES[what]
        data = world.message(more["u"], more["spot"], now + more["ahead"], more["confidence"])
        ahead = published(world.book, data, now)
        assert refused(world, data, now) is (ahead is None)
        if ahead is not None:
            assert State(ahead).feed(0) == world.state.feed(0)
            assert State(ahead).breaker() == world.state.breaker()
            assert ("trips" in what or what in ("nearly so", "the cheapest")) == bool(State(ahead).breaker().trip_until)


SMILES = {
    "usual": {},
    "steeper than a step": {"skew": -400_000, "curv": 2**31 - 1},
    "no volatility": {"atm": 0},
    "all of it": {"atm": 5_000_000},
    "more than all": {"atm": 5_000_001},
    "too sure": {"confidence": 10_001},
    "too steep": {"skew": -(2**31) - 1},
    "too bent": {"curv": 2**31},
    "dear money": {"rate": 10**6 + 1},
    "free money": {"rate": -(10**6)},
    "of an odd time": {"expiry": EXPIRIES[0] + 1},
    "far away": {"expiry": EXPIRIES[0] + 4 * 366 * 86_400},
    "beyond time": {"expiry": 2**40 - 2**40 % 86_400 + 86_400},
    "new": {"expiry": EXPIRIES[0] + 20 * 86_400},
    "of no underlying": {"u": 3},
}


@pytest.mark.parametrize("what", SMILES)
def test_of_smiles_the_contract_takes_what_is_foreseen_and_refuses_the_rest(world: OptionsWorld, what: str) -> None:
    usual = {"u": 0, "expiry": EXPIRIES[0], "atm": 800_000, "skew": -90_000, "curv": 90_000, "rate": 0}
    usual |= {"ahead": 0, "confidence": 9_000}
    with world.undone():
        now, more = world.now + 7, usual | SMILES[what]
        words = [more[name] for name in ("u", "expiry", "atm", "skew", "curv", "rate")]
        data = world.smile_call(*words, now + more["ahead"], more["confidence"])
        ahead = published(world.book, data, now)
        assert refused(world, data, now) is (ahead is None)
        if ahead is not None:
            u, expiry = more["u"], more["expiry"]
            assert State(ahead).smile(u, expiry) == world.state.smile(u, expiry)


def test_only_the_publishers_signature_counts_once_he_is_known(world: OptionsWorld) -> None:
    """What our own rule expects has none, and no sender."""
    settings = replace(world.adapter.settings, publisher=world.publisher)
    adapter, at = Options(settings, chain_id=31_337), Moment(0, world.now + 7, 0)
    good = world.message(0, SPOT, world.now + 7, 10_000)
    smile = world.smile_call(0, EXPIRIES[0], 800_000, 0, 0, 0, world.now + 7, 10_000)
    mine, world.key = world.key, b"\5" * 32
    foreign = world.message(0, SPOT, world.now + 7, 10_000)
    world.key = mine

    def foreseen(data: bytes, view: View = world.book, by: Options = adapter, sender: bytes = b"\1" * 20) -> bool:
        return by.foresee(view, Pending(world.dep.oracle, data, sender), at) is not None

    assert foreseen(good) and foreseen(smile)
    other = CONTRACTS["Oracle"].call("publish", 0, SPOT + 1, world.now + 7, 10_000, good[-96:-31])
    bare = CONTRACTS["Oracle"].call("publish", 0, SPOT, world.now + 7, 10_000, b"")
    odd = CONTRACTS["Oracle"].call("publish", 0, SPOT, world.now + 7, 10_000, b"\xff" * 64 + b"\x1b")
    assert not any(map(foreseen, (foreign, other, bare, odd)))
    assert foreseen(bare, sender=bytes(20)) and foreseen(foreign, by=world.adapter)
    assert not foreseen(good, by=adapter.armed(b"", 1)) and foreseen(foreign, by=adapter.armed(b"", 0))
    topics = (CONTRACTS["Oracle"].events["Publisher"].topic, (b"\6" * 20).rjust(32, b"\0"))
    [replaced] = adapter.absorb(world.book, Log(world.dep.oracle, topics, b"", bytes(32), 0), world.book.ref)
    assert isinstance(replaced, Delta) and not foreseen(good, view=WhatIf(world.book, {replaced.key: replaced.after}))
    with world.undone():
        assert refused(world, foreign, world.now + 7) and not refused(world, good, world.now + 7)


def test_a_message_from_a_little_ahead_counts_as_one_of_now(world: OptionsWorld) -> None:
    """The next block may be later than we think, and takes it then."""
    now = world.now + 7
    for ahead, call in ((29, world.message), (301, world.message)):
        told = [published(world.book, call(0, SPOT * 9 // 10, now + n, 10_000), now) for n in (0, ahead)]
        feeds = [State(view).feed(0) if view else None for view in told]
        assert feeds[1] == (feeds[0] if ahead < world.state.config().max_age else None)


def test_what_is_far_from_the_first_price_after_a_thaw_is_not_foreseen(world: OptionsWorld) -> None:
    feed = world.state.feed(0)
    assert feed is not None
    thawed = WhatIf(world.book, {Key("feed", 0): replace(feed, probation=True)})
    frozen = WhatIf(world.book, {Key("feed", 0): replace(feed, frozen=True)})
    for share, wanted in ((0.81, True), (0.79, False)):
        data = world.message(0, int(feed.spot * share), world.now + 7, 10_000)
        assert (published(thawed, data, world.now + 7) is not None) is wanted
        assert published(frozen, data, world.now + 7) is None


@pytest.mark.parametrize("seed", range(8))
def test_nothing_that_anybody_may_send_makes_it_fail(world: OptionsWorld, seed: int) -> None:
    """Every market that is foreseen can be scanned."""
    dice, oracle = Random(seed), CONTRACTS["Oracle"]
    columns, view, at = laid(world, accounts(seed, 25))

    def number(kind: str) -> int:
        signed, near = kind.startswith("int"), dice.choice((world.now, EXPIRIES[0], SPOT, 800_000, 10_000))
        top = 2**255 if signed else 2**256
        return dice.choice((0, 1, 2, near, near, near, -1 if signed else 7, dice.randrange(top), top - 1))

    for _ in range(400):
        entry = oracle.functions[dice.choice(("publish", "publishSmile"))]
        call = oracle.call(entry.name, *(b"" if kind == "bytes" else number(kind) for kind in entry.inputs))
        if (ahead := published(view, call, at.timestamp)) is not None:
            columns.suspects(ahead, at)


@pytest.mark.parametrize(("price", "vol"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (inf, 1.0)])
def test_a_market_that_is_none_is_refused(world: OptionsWorld, price: float, vol: float) -> None:
    with pytest.raises(ValueError, match="cannot move"):
        moved(world.book, BOTH, price, vol)


# ─── the whole book ───────────────────────────────────────────────────────────────────────────────


def test_the_ladder_is_the_screen_level_by_level(world: OptionsWorld) -> None:
    columns, view, at = laid(world, accounts(5, 20))
    found = climb(columns, view, at, BOTH, flat)
    for level in (3, 20, 29, 40):
        h = columns.assess(State(moved(view, BOTH, float(LEVELS[level]))), at, Price.TRIGGER)
        assert found.equity[level] == pytest.approx(h.equity) and found.mm[level] == pytest.approx(h.mm)


def test_stress_of_a_book_adds_up(world: OptionsWorld) -> None:
    columns, view, at = laid(world, accounts(11, 40))
    found = stress(columns, view, at, Question())
    exact = 0
    crash = moved(view, BOTH, float(LEVELS[3]), Question().vol(float(LEVELS[3])))
    for n in range(1, 41):
        exact += max(0, -world.adapter.health(crash, Key("account", n), at).equity)
    assert found.lacking[3] == pytest.approx(exact / WAD, rel=1e-9)
    assert found.fund == 0 and found.sigma > 0 and found.left_out == 0
    for law in found.laws.values():
        assert law.unpaid == pytest.approx(law.expected) and law.tail >= law.at_risk
    harder = stress(columns, view, at, Question(intensity=60, jump=-0.3))
    assert harder.laws["24 hours"].expected > found.laws["24 hours"].expected


def test_accounts_without_a_number_are_left_out_and_counted() -> None:
    def health(first: float) -> Health:
        both, none = np.array([first, 1.0]), np.zeros((2, 1))
        return Health(equity=both, mm=both, im=both, gross=both, worst=none, delta=none)

    found = foresight._whole([5, 6], [health(1.0), health(np.nan)])
    assert (list(found.accounts), found.left_out) == ([6], 1)


@pytest.mark.parametrize(
    "bad", [{"horizon": 0}, {"jump": -1}, {"omega": 1.5}, {"sigma": float("nan")}, {"spread": -0.1}]
)
def test_a_question_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        Question(**bad)
