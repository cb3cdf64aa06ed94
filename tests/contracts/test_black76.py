"""The contract's option values: equal to the Python telling to the wei, and to published numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from math import exp, sqrt
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.margin import black76
from keeper.protocols.options import maths, normal
from keeper.simulation.node import Anvil
from keeper.units import WAD, YEAR, wad
from tests.shared_data import folder
from tests.worlds.options import GENESIS, OptionsWorld

pytestmark = pytest.mark.chain
VECTORS: Final = folder("vectors")


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        yield OptionsWorld(node)


def on_chain(w: OptionsWorld, is_call: bool, f: int, k: int, total: int) -> tuple[int, int]:
    v, n1 = w.ask("Risk", w.dep.risk, "value", is_call, f, k, total)
    return v, n1


def ours(is_call: bool, f: int, k: int, total: int) -> tuple[int, int]:
    v, n1 = maths.value(is_call, f, k, maths.ln_wad(max(1, f * WAD // k)), total)
    return v, n1 * WAD >> normal.SCALE


WIDE = st.integers(0, 93).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1))
FORWARD, TOTAL = st.one_of(WIDE, st.integers(WAD // 2, 10**5 * WAD)), st.integers(0, 25 * WAD)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(is_call=st.booleans(), f=FORWARD, k=FORWARD, total=st.one_of(TOTAL, st.integers(0, 2 * 10**9)))
def test_any_option_is_worth_the_same_to_the_wei(
    world: OptionsWorld, is_call: bool, f: int, k: int, total: int
) -> None:
    assert on_chain(world, is_call, f, k, total) == ours(is_call, f, k, total)


@settings(max_examples=400, deadline=None)
@given(is_call=st.booleans(), moneyness=st.floats(0.05, 20), total=st.floats(0, 8))
def test_the_textbook_agrees_to_1e_12_of_forward_and_strike(is_call: bool, moneyness: float, total: float) -> None:
    f, k, w = wad(2_000), wad(repr(2_000 * moneyness)), wad(repr(total))
    v, n1 = ours(is_call, f, k, w)
    theirs, delta = black76.value(np.array([is_call]), np.array([f / WAD]), np.array([k / WAD]), np.array([w / WAD]))
    assert v / WAD == pytest.approx(theirs[0], abs=1e-12 * max(f, k) / WAD)
    assert (n1 if is_call else n1 - WAD) / WAD == pytest.approx(delta[0], abs=1e-12)


@settings(max_examples=400, deadline=None)
@given(f=FORWARD, k=FORWARD, total=TOTAL)
def test_call_less_put_is_the_forward_and_neither_is_negative(f: int, k: int, total: int) -> None:
    call, put = ours(True, f, k, total)[0], ours(False, f, k, total)[0]
    assert 0 <= call <= f and 0 <= put <= k
    assert abs(call - put - (f - k)) <= 2 + (f + k) // 10**15


@pytest.mark.skipif(VECTORS is None, reason="needs shared/data/vectors, see tests/shared_data.py")
def test_published_values_on_the_real_evm(world: OptionsWorld) -> None:
    """Haug (1998) as QuantLib has it, and Lyra's Black-76."""
    assert VECTORS is not None
    with (VECTORS / "quantlib-haug1998-european-values.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            k, s, q, r, t, vol, value, tolerance = (float(row[n]) for n in list(row)[1:])
            words = (wad(repr(x)) for x in (s * exp((r - q) * t), k, vol * sqrt(t)))
            found = on_chain(world, row["type"] == "call", *words)[0] / WAD * exp(-r * t)
            assert found == pytest.approx(value, abs=tolerance), row
    with (VECTORS / "lyra-utils-black76.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            f, k = (int(wad(row[n])) for n in ("forward", "strike"))
            total = wad(repr(float(row["vol"]) * sqrt(float(row["seconds_to_expiry"]) / YEAR)))
            if not f or not k or max(f, k) >= 2**120:
                continue  # cannot be published, or traded
            told = (float(row[n]) / float(row["discount"]) for n in ("call", "put"))
            for is_call, expected in zip((True, False), told, strict=True):
                found = on_chain(world, is_call, f, k, total)[0] / WAD
                assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * f / WAD), row
