"""The 2048-bit filter in a header over the addresses and topics of its logs (yellow paper, 4.4.3).

It may admit what is not there and never denies what is, so it catches a node that leaves logs out.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from keeper.model import Log, LogFilter


@lru_cache(maxsize=2**16)
def bits(value: bytes) -> int:
    """The three bits that an address or a topic sets."""
    from eth_hash.auto import keccak

    digest = keccak(value)
    mask = 0
    for place in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return mask


def of(logs: Iterable[Log]) -> int:
    """The filter of a block that has exactly these logs."""
    mask = 0
    for log in logs:
        for value in (log.address, *log.topics):
            mask |= bits(value)
    return mask


def admits(bloom: int, wanted: LogFilter) -> bool:
    """Whether the block may have a log that ``wanted`` matches."""
    values = (wanted.address, *(topic for topic in wanted.topics if topic is not None))
    return all(bloom & bits(value) == bits(value) for value in values)
