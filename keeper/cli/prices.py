"""The price path of a simulated market: recorded candles, or a made crash."""

from __future__ import annotations

from keeper.simulation.paths import Path, before_worst, candles, jump_diffusion, window
from keeper.simulation.world import BLOCK_TIME, SPOTS

DAY = 8_640  # seconds of chain time in which a day is played: ten times as fast


def price_path(seed: int, blocks: int, file: str | None) -> Path:
    """The worst hours of the crash, played ten times as fast."""
    speed = 86_400 // DAY
    if file:
        start = before_worst(file, blocks * BLOCK_TIME * speed)
        return candles([file], start, blocks, BLOCK_TIME, speed=speed, followers=SPOTS[1:])
    day = jump_diffusion(seed, DAY // BLOCK_TIME, BLOCK_TIME, SPOTS)
    return window(day, min(blocks, len(day)), DAY // BLOCK_TIME // 24)
