"""The clock that tests hold in their hand."""

import asyncio
import time

from keeper.clock import SystemClock
from keeper.testing.clock import VirtualClock


async def sleep_and_note(clock: VirtualClock, seconds: float, notes: list[tuple[float, float]]) -> None:
    await clock.sleep(seconds)
    notes.append((seconds, clock.monotonic()))


async def test_sleepers_wake_in_order_each_at_its_own_instant() -> None:
    clock, notes = VirtualClock(start=100.0), list[tuple[float, float]]()
    tasks = [asyncio.create_task(sleep_and_note(clock, seconds, notes)) for seconds in (5.0, 1.0, 3.0, 9.0)]
    await clock.advance(5)
    assert notes == [(1.0, 101.0), (3.0, 103.0), (5.0, 105.0)]
    assert (clock.now(), clock.sleepers) == (105.0, 1)
    tasks[-1].cancel()


async def test_who_sleeps_again_on_the_way_is_woken_again() -> None:
    clock, notes = VirtualClock(), list[float]()

    async def tick() -> None:
        while True:
            await clock.sleep(2)
            notes.append(clock.monotonic())

    ticking = asyncio.create_task(tick())
    await clock.advance(7)
    assert notes == [2, 4, 6]
    ticking.cancel()


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock()
    sleeping = asyncio.create_task(clock.sleep(1))
    async with asyncio.timeout(5):
        await clock.slept_on()
    assert (clock.monotonic(), sleeping.done()) == (0.0, False)
    sleeping.cancel()


async def test_automatic_time_jumps_to_each_sleeper_in_order() -> None:
    clock, notes = VirtualClock(auto=True), list[tuple[float, float]]()
    await asyncio.gather(*(sleep_and_note(clock, seconds, notes) for seconds in (3.0, 1.0, 2.0)))
    assert notes == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


async def test_a_cancelled_sleeper_does_not_hold_time_up() -> None:
    clock = VirtualClock(auto=True)
    cancelled = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    cancelled.cancel()
    await clock.sleep(5)
    assert clock.monotonic() == 5


async def test_the_system_clock_is_the_machine_s() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert abs(clock.now() - time.time()) < 60
