"""Contracts whose code changes: nothing new begins until a person has looked.

What we act on is known by its code. At the start, and then every hour, the code of every contract that we listen to,
read or call is compared with what the journal remembers; in between, the slots in which proxies keep their
implementation (EIP-1967). A change turns the switch to pause, as a loss does; whoever turns it back accepts the change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog
from eth_hash.auto import keccak

from keeper.errors import KeeperError
from keeper.model import Address, Hash, Interests
from keeper.ports import Clock

SLOTS: Final = (  # implementation, beacon, and the implementation slot of older OpenZeppelin proxies
    bytes.fromhex("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
    bytes.fromhex("a3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"),
    bytes.fromhex("7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"),
)
EVERY: Final = 60.0  # seconds between looks at the slots
FULLY: Final = 60  # looks between looks at the code itself

log = structlog.get_logger("keeper")
Codes = Callable[[Sequence[Address]], Awaitable[Sequence[bytes]]]
Words = Callable[[Sequence[tuple[Address, bytes]]], Awaitable[Sequence[bytes]]]


def touched(interests: Iterable[Interests], desk: Address | None) -> set[Address]:
    """Every contract that we hear, read or act through."""
    found = {desk} if desk else set[Address]()
    for one in interests:
        found |= {*(each.address for each in one.logs), *(read.target for read in one.reads)}
    return found


class Upgrades:
    def __init__(
        self,
        wanted: Callable[[], Iterable[Address]],
        codes: Codes,
        words: Words,
        recall: Callable[[str], bytes | None],
        remember: Callable[[str, bytes], None],
        pause: Callable[[str], None],
    ) -> None:
        """``wanted``: whose code matters now. ``recall`` and ``remember`` outlive the process."""
        self._wanted, self._codes, self._words = wanted, codes, words
        self._recall, self._remember, self._pause = recall, remember, pause

    async def look(self, *, fully: bool = True) -> None:
        """Raises Retry when the node cannot say. One that is new to us is taken for what it is."""
        addresses = sorted(set(self._wanted()))
        slots = [(address, slot) for address in addresses for slot in SLOTS]
        words = await self._words(slots)
        for address in addresses:
            kept = [word for (of, _), word in zip(slots, words, strict=True) if of == address]
            self._compare(address, "implementation", b"".join(word.rjust(32, b"\0") for word in kept))
        if fully:
            for address, code in zip(addresses, await self._codes(addresses), strict=True):
                self._compare(address, "code", code)

    def _compare(self, address: Address, what: str, found: bytes) -> None:
        key, now = f"{what} of 0x{address.hex()}", bytes(keccak(found))
        known: Hash | None = self._recall(key)
        if known == now:
            return
        if known is not None:
            log.error("contract.changed", address=f"0x{address.hex()}", what=what, help="look at it; keeper switch run")
            self._pause(f"the {key} has changed")
        self._remember(key, now)  # last: killed before it, the next start finds the change again

    async def watch(self, clock: Clock) -> None:
        """For ever; a node in trouble is asked again."""
        turn = 0
        while True:
            await clock.sleep(EVERY)
            turn += 1
            try:
                await self.look(fully=turn % FULLY == 0)
            except KeeperError as error:
                log.warning("contract.unseen", error=str(error))
