"""Every law can be broken: each is shown a world, or a story about it, in which it does not hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from keeper.model import Fact, Key
from keeper.protocols.options.risk import Price
from keeper.simulation.node import Anvil
from keeper.units import WAD
from tests.invariants import laws
from tests.invariants.acts import ACTS, bid, cure, flag, opening, settle, squeeze, takeover
from tests.invariants.laws import LAWS, TELLINGS, Law
from tests.invariants.test_invariants import parts
from tests.invariants.walk import MAKER, Deed, Walk, begun
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain

Story = Callable[[Walk, pytest.MonkeyPatch], Deed]


@pytest.fixture(scope="module")
def world() -> Iterator[Walk]:
    """After a while, with an account for sale that has not its requirement."""
    with Anvil(timestamp=GENESIS) as node:
        w = begun(node, 3)
        opening(w)
        for _ in range(60):
            squeeze(w)
            next(flag(w), None)
            if w.running():
                break
        assert w.running()
        yield w


def weak(w: Walk) -> int:
    return w.running()[0]


def deed(w: Walk, what: str, *accounts: int, **said: Any) -> Deed:
    return Deed(what, "somebody", (), w.now, True, w.before(), accounts=accounts, **said)


def after(w: Walk, told: Deed, account: int, **changed: Any) -> Deed:
    """The same story, had ``account`` been something else before."""
    record = replace(told.before.accounts[account], **changed)
    return replace(told, before=replace(told.before, accounts={**told.before.accounts, account: record}))


def deaf(w: Walk, patch: pytest.MonkeyPatch) -> None:
    """The contract answers nonsense."""
    patch.setattr(w, "ask", lambda *_: -1)


# ─── stories ──────────────────────────────────────────────────────────────────────────────────────


def minted(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "cash", lambda: [0])
    return deed(w, "deposit")


def grown(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    account, one = next((account, one) for account, one in w.accounts() if one.legs)
    first = one.legs[0]
    larger = replace(one, legs=(first._replace(size=first.size + 1), *one.legs[1:]))
    rest = [(other, record) for other, record in w.accounts() if other != account]
    patch.setattr(w, "accounts", lambda: iter([(account, larger), *rest]))
    return deed(w, "trade")


def milder(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    r = w.sets.risk
    patch.setattr(w, "stricter", (w._proposed(replace(r, mm_factor=r.mm_factor // 2)),))
    return deed(w, "deposit", weak(w))


def blind(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    """A named scenario that asks for more than all of them."""
    prices = w.prices

    class Odd:
        def __init__(self) -> None:
            self.params = prices(Price.TRIGGER).params

        def assess(self, pf: Any, named: Any = None) -> Any:
            h = prices(Price.TRIGGER).assess(pf)
            return replace(h, mm=h.mm + 1) if named is not None else h

    patch.setattr(w, "prices", lambda *_: Odd())
    return deed(w, "deposit", weak(w))


def reckless(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return deed(w, "withdraw", weak(w))


def useless(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    amounts = {"fraction": WAD // 2, "rho": 0, "takeover": 0, "price": 0, "fee": 0}
    sold = Fact("sold", Key("account", weak(w)), b"", b"", amounts)
    return deed(w, "bid", weak(w), w.account(MAKER), facts=(sold,))


def dearer(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    running = w.state.auction(weak(w))
    assert running is not None
    patch.setattr(w, "rhos", {weak(w): (running, 2 * WAD)})
    return deed(w, "publish")


def at_night(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "level", lambda: 3)
    return deed(w, "bid", weak(w), w.account(MAKER))


def generous(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    told = deed(w, "trade")
    before = replace(told.before, clearing=replace(told.before.clearing, fund=told.before.clearing.fund + 1))
    return replace(told, before=before)


def split(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return deed(w, "bid", weak(w), w.account(MAKER), halves=10**40)


def obliging(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "refusal", lambda *_: None)
    return deed(w, "publish")


def broken_promise(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return replace(deed(w, "deposit", promised=True), done=False)


def enlarged(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return after(w, deed(w, "trade", weak(w)), weak(w), legs=())


def moved(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "marks", lambda later, pokes: [10**12 * pokes])
    patch.setattr(w.rng, "random", lambda: 1.0)
    return deed(w, "publish")


def shifted(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    get = w.book.columns.get
    patch.setattr(w.book.columns, "get", lambda key: replace(get(key), index=get(key).index - 1))
    return deed(w, "publish", weak(w))


def forced(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return deed(w, "socialise", w.account(MAKER))


def uncounted(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    deaf(w, patch)
    return deed(w, "publish")


def wrongly_flagged(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return deed(w, "flag", w.account(MAKER))


def richer(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "stages", {(1, 1)})
    patch.setattr(w, "ask", lambda *_: [(0, b"", 1, 0, 0)])
    return deed(w, "commit")


def underinsured(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    return deed(w, "cover", weak(w), w.account(MAKER))


def unheard(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "ask", lambda contract, to, function, *_: [-1] * 9)
    patch.setattr(w, "assess", lambda *_, **__: ())
    return deed(w, "publish", weak(w))


def unseen(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    prices, other = w.prices, w.stricter[0]
    patch.setattr(w, "prices", lambda mode: prices(mode, other))
    return deed(w, "publish", weak(w))


def unparted(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    patch.setattr(w, "ask", lambda *_: (0, [], []))
    return deed(w, "publish", weak(w))


def baffled(w: Walk, patch: pytest.MonkeyPatch) -> Deed:
    def health(*_: Any) -> None:
        raise ZeroDivisionError

    patch.setattr(type(w.adapter), "health", health)
    return deed(w, "trade")


BREAKS: Final[Mapping[Law, Story]] = {
    laws.money_is_conserved: minted,
    laws.sizes_sum_to_zero: grown,
    laws.requirements_are_ordered: milder,
    laws.one_scenario_is_a_proof: blind,
    laws.nobody_gets_into_trouble: reckless,
    laws.a_sale_helps: useless,
    laws.the_discount_never_falls: dearer,
    laws.a_standing_clock_sells_nothing: at_night,
    laws.the_fund_pays_last: generous,
    laws.two_halves_are_no_more: split,
    laws.nothing_comes_of_nothing: obliging,
    laws.promises_are_kept: broken_promise,
    laws.what_is_for_sale_only_shrinks: enlarged,
    laws.looking_moves_nothing: moved,
    laws.positive_cash_is_counted: uncounted,
    laws.nobody_pays_into_ruin: forced,
    laws.the_insolvent_are_counted: uncounted,
    laws.only_the_unhealthy_are_flagged: wrongly_flagged,
    laws.bonds_are_kept: richer,
    laws.insurance_restores: underinsured,
    laws.balances_agree: unparted,
    laws.storage_agrees: shifted,
    laws.requirements_agree: unheard,
    laws.standing_agrees: unheard,
    laws.the_screen_agrees: unseen,
    laws.offers_agree: unheard,
    laws.auctions_agree: unheard,
    laws.feeds_agree: unheard,
    laws.the_keeper_copes: baffled,
}


def test_every_law_has_a_story_that_breaks_it() -> None:
    assert set(BREAKS) == {*LAWS, *TELLINGS}


@pytest.mark.parametrize("law", BREAKS, ids=lambda law: law.__name__)
def test_a_law_can_be_broken(law: Law, world: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    law(world, deed(world, "nothing"))
    with pytest.raises(AssertionError):
        law(world, BREAKS[law](world, monkeypatch))


def test_every_act_has_been_tried_in_some_order(world: Walk) -> None:
    """Without an occasion an act does nothing, and says nothing."""
    for act in (bid, cure, takeover, settle, *ACTS):
        deque(parts(world, act))
    assert {deed.what for deed in world.deeds} >= {"bid", "cure", "takeover", "publish", "withdraw", "raise", "propose"}
