"""The mirrored libraries give what the compiled libraries give."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keeper.protocols import words
from keeper.protocols.morpho_blue import maths
from keeper.simulation.node import Anvil
from keeper.units import WAD
from tests.conformance.morpho_harness import call_data, compiled

pytestmark = pytest.mark.chain

HARNESS = b"\x11" * 20
Ask = Callable[..., list[int]]

amounts = st.integers(0, 2**100)
few = settings(max_examples=100, deadline=None)


@pytest.fixture(scope="module")
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Call a pure function of the harness; its results as integers."""
    code = compiled(request.config.cache.mkdir("solc"))["Harness"]["evm"]["deployedBytecode"]["object"]
    with Anvil() as node:
        node.rpc("anvil_setCode", HARNESS, "0x" + code)

        def ask(signature: str, *arguments: int) -> list[int]:
            answer = node.rpc("eth_call", {"to": HARNESS, "data": call_data(signature, *arguments)}, "latest")
            data = bytes.fromhex(answer[2:])
            return [words.uint(data, i) for i in range(len(data) // words.WORD)]

        yield ask


@few
@given(amounts, amounts, amounts)
@example(1, 0, 0)
def test_shares_and_assets(ask: Ask, x: int, assets: int, shares: int) -> None:
    mirrored = (maths.to_shares_down, maths.to_assets_down, maths.to_shares_up, maths.to_assets_up)
    assert [f(x, assets, shares) for f in mirrored] == ask("shares(uint256,uint256,uint256)", x, assets, shares)


@few
@given(st.integers(0, 10**12), st.integers(0, 10**10))  # 3,000 % a year; three centuries
def test_compounding(ask: Ask, rate: int, seconds: int) -> None:
    assert [maths.taylor_compounded(rate, seconds)] == ask("compounded(uint256,uint256)", rate, seconds)


@few
@given(st.integers(0, WAD - 1))
@example(0)
@example(WAD - 1)
def test_incentive(ask: Ask, lltv: int) -> None:
    assert [maths.incentive_factor(lltv)] == ask("incentive(uint256)", lltv)
