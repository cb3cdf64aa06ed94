"""Waiting for a node that is not there yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from keeper.chain.rpc import RpcError
from keeper.clock import SystemClock
from keeper.errors import ChainLost, Retry

T = TypeVar("T")

FIRST_PAUSE: Final = 0.1  # seconds until it is asked again; doubled each time
LAST_PAUSE: Final = 1.0
NOBODY: Final = "is it running, and is `rpc` right?"

log = structlog.get_logger("keeper")


async def answered(ask: Callable[[], Awaitable[T]], patience: float = 0.0) -> T:
    """What a node says that is there, or comes within so many seconds. Raises ChainLost."""
    clock = SystemClock()
    began, pause = clock.monotonic(), FIRST_PAUSE
    while True:
        try:
            return await ask()
        except (Retry, RpcError) as error:
            if clock.monotonic() - began >= patience:
                raise ChainLost(f"the node does not answer: {error}", help=NOBODY) from error
            if pause == FIRST_PAUSE:
                log.warning("rpc.awaited", error=str(error), patience_s=patience)
        await clock.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)
