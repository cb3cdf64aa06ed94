"""Long random walks over the deployed contracts, on a real EVM: after every step every invariant holds, and the Python
telling is the contract's.

    pytest tests/invariants                                  two short walks, the same ones every time
    pytest tests/invariants --walks 20 --steps 2000          longer
    pytest tests/invariants --walks 1 --steps 2000 --first 7 one of them again, by its seed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from keeper.simulation.node import Anvil
from tests.invariants.acts import ACTS, Act, opening
from tests.invariants.laws import LAWS, TELLINGS
from tests.invariants.plots import PLOTS
from tests.invariants.walk import Walk, begun
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain
ALWAYS = {
    "publish",
    "deposit",
    "withdraw",
    "trade",
    "flag",
    "raise",
    "freeze",
    "execute",
    "propose",
    "accept",
    "fundFrom",
}
ALWAYS |= {what for brings in PLOTS.values() for what in brings}  # every walk has each of them at least once


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil(timestamp=GENESIS) as node:
        yield node


def walked(node: Anvil, seed: int, steps: int) -> Walk:
    w = begun(node, seed)
    acts, weights = list(ACTS), list(ACTS.values())
    opening(w)
    n = 0
    while n < steps or (n < 3 * steps and missing(w)):
        if n % max(1, steps // len(PLOTS)) == 0:
            for _ in parts(w, next_plot(w, n)):
                obeyed(w)
        n += 1
        for _ in parts(w, w.rng.choices(acts, weights)[0]):
            obeyed(w)
    return w


def next_plot(w: Walk, n: int) -> Act:
    """In an order of its own; what came to nothing is tried again."""
    untried = [plot for plot, brings in PLOTS.items() if not done(w).keys() >= set(brings)]
    return w.rng.choice(untried or list(PLOTS))


def done(w: Walk) -> Counter[str]:
    return Counter(deed.what for deed in w.deeds if deed.done)


def missing(w: Walk) -> set[str]:
    """What has not yet succeeded in a walk, and must."""
    return ALWAYS - done(w).keys()


def parts(w: Walk, act: Act) -> Iterator[None]:
    """An act, as far as something was done: some do several things one after the other."""
    seen = len(w.deeds)
    told = act(w)
    for _ in told if isinstance(told, Iterator) else [None]:
        if len(w.deeds) > seen:
            yield
        seen = len(w.deeds)


def obeyed(w: Walk) -> None:
    """Every law, after the last thing that was done."""
    for law in (*LAWS, *TELLINGS):
        try:
            law(w, w.deeds[-1])
        except AssertionError as error:
            sentence = " ".join(str(law.__doc__).split())
            raise AssertionError(f"seed {w.seed}, step {len(w.deeds)}: {sentence}\n{error}\n{w.told()}") from error


def test_every_invariant_holds_after_every_step(node: Anvil, walk_seed: int, walk_steps: int) -> None:
    w = walked(node, walk_seed, walk_steps)
    assert not missing(w), (missing(w), done(w))
