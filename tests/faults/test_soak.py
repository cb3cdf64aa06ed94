"""A short soak, and that it would notice; ``make soak N=10000`` is the long one. And a start with much to recover."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from keeper.model import TxState
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.tx.fees import Fees
from keeper.tx.journal import Journal
from keeper.tx.manager import FAULT_POINTS, HELD_POINTS, Manager
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.units import GWEI
from tests.chain.manager_rig import LineNode
from tests.faults import soak

pytestmark = pytest.mark.chain


@pytest.mark.fault("C01", "C02", "C03", "C04", "C05", "C06", "C07", "C08", "C09", "C39")
def test_eighty_deaths_double_nothing_forget_nothing_and_leave_no_gap() -> None:
    toll = soak.soak(80)
    assert toll.wrong == []
    assert toll.kills >= 80 and toll.paid > 30 and toll.cancelled > 0
    assert set(toll.points) >= set(FAULT_POINTS) and set(toll.points) & set(HELD_POINTS)


def test_an_effect_that_nobody_wrote_down_would_be_noticed(tmp_path: Path) -> None:
    with Anvil() as node:
        world = soak.World(node, tmp_path / "journal.db", b"\x05" * 32, random.Random(1), soak.Toll())
        world.wish()
        node.set_balance(world.wished[0].call.target, 2)
        soak.judge(world)
    assert [line.split(":")[0] for line in world.toll.wrong] == ["two effects", "forgotten"]


OPEN = 1_000


@pytest.mark.fault("C12", "C24")
async def test_a_thousand_open_records_are_recovered_in_five_seconds(tmp_path: Path) -> None:
    with Anvil() as node:
        world = soak.World(node, tmp_path / "journal.db", b"\x06" * 32, random.Random(1), soak.Toll())
        write(world)
        began = time.process_time()
        with closing(LineNode(node.ipc)) as line, closing(Journal(world.path, world.binding)) as journal:
            manager = Manager(line, journal, world.signer, soak.SETTINGS)
            events = await manager.recover()
        assert len(events) == OPEN
        assert time.process_time() - began < 5


def write(world: soak.World) -> None:
    """A journal with so many intents that were signed, and of which nobody knows more."""
    fees = Fees(2 * GWEI, GWEI)
    with closing(Journal(world.path, world.binding)) as journal:
        for nonce in range(OPEN):
            intent = world.wish()
            raw, hash = world.signer.sign(nonce, intent.call, 21_000, fees.max_fee, fees.tip, CHAIN_ID)
            flight = Flight(intent, nonce, 1, TxState.SIGNED)
            flight.attempts.append(Attempt(hash, intent.id, nonce, AttemptKind.ACT, raw, 21_000, fees, 1))
            journal.begin(flight)
