"""The price path of a simulated market: recorded candles, or a made crash."""

from __future__ import annotations

from keeper.simulation import harsh
from keeper.simulation.paths import Path, before_worst, candles, jump_diffusion, window
from keeper.simulation.world import BLOCK_TIME, SPOTS

SPEED = 10  # market seconds in a second of chain time
DAY = 86_400 // SPEED  # seconds of chain time in which a day is played


def price_path(seed: int, blocks: int, file: str | None, gap: bool = False) -> Path:
    """The worst hours of the crash, played ten times as fast; or a gap."""
    if gap:
        return harsh.gap(seed, blocks, BLOCK_TIME, SPOTS)
    if file:
        start = before_worst(file, blocks * BLOCK_TIME * SPEED)
        return candles([file], start, blocks, BLOCK_TIME, speed=SPEED, followers=SPOTS[1:])
    day = jump_diffusion(seed, DAY // BLOCK_TIME, BLOCK_TIME, SPOTS)
    return window(day, min(blocks, len(day)), DAY // BLOCK_TIME // 24)
