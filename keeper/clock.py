"""Wall time, for the few parts that wait."""

import asyncio
import time


class SystemClock:
    """Implements ``ports.Clock`` with the machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
