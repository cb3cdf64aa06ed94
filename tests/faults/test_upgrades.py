"""A contract that is another than it was: nothing new begins until a person has looked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM

import pytest

from keeper.errors import NodeUnavailable
from keeper.model import Address, Interests, LogFilter, Read
from keeper.process.upgrades import FULLY, SLOTS, Upgrades, touched
from keeper.testing.clock import VirtualClock
from keeper.tx.switch import Level, Switch
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

ONE, TWO, THREE = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20


class Contracts:
    """Two contracts, the slots of proxies, and a memory."""

    def __init__(self) -> None:
        self.code = {ONE: b"\x60", TWO: b"\x61"}
        self.slots = dict[tuple[Address, bytes], bytes]()
        self.memory = dict[str, bytes]()
        self.paused = list[str]()
        self.asked = 0
        self.down = False
        self.made()

    def made(self) -> None:
        """Anew, with the memory of before."""
        parts = (self.codes, self.words, self.memory.get, self.memory.__setitem__, self.paused.append)
        self.upgrades = Upgrades(lambda: self.code, *parts)

    async def codes(self, addresses: Sequence[Address]) -> Sequence[bytes]:
        self.asked += 1
        return [self.code[address] for address in addresses]

    async def words(self, places: Sequence[tuple[Address, bytes]]) -> Sequence[bytes]:
        if self.down:
            raise NodeUnavailable("gone")
        return [self.slots.get(place, bytes(32)) for place in places]


@pytest.mark.fault("A27", "P08")
@pytest.mark.parametrize("restart", [True, False])
async def test_code_that_changed_pauses_once(restart: bool) -> None:
    world = Contracts()
    await world.upgrades.look()
    world.code[TWO] += b"\x00"
    if restart:
        world.made()
    await world.upgrades.look()
    assert world.paused == [f"the code of 0x{TWO.hex()} has changed"]
    await world.upgrades.look()  # whoever turns the switch back accepts it
    assert len(world.paused) == 1


@pytest.mark.fault("A27")
@pytest.mark.parametrize("slot", SLOTS)
async def test_a_proxy_with_another_implementation_pauses_within_a_look_at_its_slots(slot: bytes) -> None:
    world, clock = Contracts(), VirtualClock()
    await world.upgrades.look()
    world.slots[ONE, slot] = TWO.rjust(32, b"\0")
    await world.upgrades.look(fully=False)
    assert world.paused == [f"the implementation of 0x{ONE.hex()} has changed"]
    assert clock.now() == 0


@pytest.mark.fault("A27")
async def test_killed_before_the_change_is_noted_the_next_start_finds_it_again() -> None:
    world = Contracts()
    await world.upgrades.look()
    world.code[ONE] = b""
    world.memory, known = dict(world.memory), world.memory
    world.made()
    await world.upgrades.look()
    world.memory = known  # as if nothing of it had been written
    world.made()
    await world.upgrades.look()
    assert len(world.paused) == 2


@pytest.mark.fault("A27")
async def test_what_is_new_to_us_is_taken_for_what_it_is() -> None:
    world = Contracts()
    await world.upgrades.look()
    world.code[THREE] = b"\x62"
    await world.upgrades.look()
    assert world.paused == []
    world.code[THREE] = b"\x63"
    await world.upgrades.look()
    assert len(world.paused) == 1


@pytest.mark.fault("A27")
async def test_it_looks_every_minute_fully_every_hour_and_bears_a_node_in_trouble() -> None:
    import asyncio

    world, clock = Contracts(), VirtualClock()
    watching = asyncio.create_task(world.upgrades.watch(clock))
    await clock.slept_on()
    await clock.advance(60 * (FULLY - 1))
    assert (world.asked, len(world.memory)) == (0, 2)
    world.down = True
    await clock.advance(60)
    world.down = False
    await clock.advance(60 * FULLY)
    assert world.asked == 1
    watching.cancel()


def test_what_is_touched_is_what_is_heard_read_and_acted_through() -> None:
    heard = Interests((LogFilter(ONE), LogFilter(ONE)), (Read("r", TWO, b""),))
    assert touched([heard], THREE) == {ONE, TWO, THREE}
    assert touched([], None) == set()


# ─── a whole keeper ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.chain
@pytest.mark.fault("A27")
async def test_a_keeper_that_finds_another_liquidator_signs_nothing_until_it_is_told_to(tmp_path: Path) -> None:
    with crash(tmp_path, 50) as scene:
        async with run(scene) as keeper:
            await keeper.heard("turn.done")
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0
        target = f"0x{scene.world.contracts.liquidator.hex()}"
        code = scene.node.rpc("eth_getCode", target, "latest")
        scene.node.rpc("anvil_setCode", target, f"{code}00")
        switch = Switch(tmp_path / "state" / "switch")
        async with run(scene) as keeper:
            await keeper.heard("contract.changed", address=target)
            for _ in range(8):
                await keeper.heard("turn.done", "turn.skipped", "keeper.recovering", block=scene.step().number)
            assert not keeper.has("tx.signed")
            assert switch.level is Level.PAUSE
            switch.set(Level.RUN)
            for _ in range(12):
                await keeper.heard("turn.done", "turn.skipped", "keeper.recovering", block=scene.step().number)
                if keeper.has("tx.signed"):
                    break
            assert keeper.has("tx.signed")
            keeper.send(SIGTERM)
            assert await keeper.ended() == 0


def run(scene: Scene) -> Process:
    return Process("run", "-c", scene.config, "--live", "--set=record.enabled=false")
