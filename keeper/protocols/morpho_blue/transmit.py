"""The next answer of a price feed, in the call that will bring it: Chainlink's off-chain reporting, both versions.

    1   transmit(report, rs, ss, vs)            report: context, observers, observations
    2   transmit(context[3], report, rs, ...)   report: time, observers, observations, fee

Observations ascend, and the answer is the one in the middle. Operators send it themselves, or through a forwarder of
their own. Signatures are not checked: what the feed refuses changes nothing, and a transaction behind it fails in
simulation.
"""

from __future__ import annotations

from typing import Final

from keeper.errors import AdapterFault
from keeper.model import Address
from keeper.protocols import words

FIRST: Final = bytes.fromhex("c9807539")  # transmit(bytes,bytes32[],bytes32[],bytes32)
SECOND: Final = bytes.fromhex("b1dc65a4")  # transmit(bytes32[3],bytes,bytes32[],bytes32[],bytes32)
FORWARD: Final = bytes.fromhex("6fadcf72")  # forward(address,bytes)
REPORT_AT: Final = {FIRST: 0, SECOND: 3}  # in which argument word the offset of the report stands
OBSERVATIONS_AT: Final = 2  # the same for the observations of a report
MOST: Final = 31  # observations


def told(target: Address, data: bytes) -> tuple[Address, int] | None:
    """(aggregator, its answer after this call); None when it is another call, or garbled."""
    try:
        if data[:4] == FORWARD:
            target, data = words.address(data[4:], 0), _text(data[4:], 1)
        at = REPORT_AT.get(data[:4])
        return None if at is None else (target, _middle(_text(data[4:], at)))
    except AdapterFault:
        return None


def _text(data: bytes, i: int) -> bytes:
    """The bytes whose offset stands in word ``i``."""
    at = words.uint(data, i)
    size = int.from_bytes(data[at : at + words.WORD])
    found = data[at + words.WORD : at + words.WORD + size]
    if len(data) < at + words.WORD or len(found) != size:
        raise AdapterFault(f"call data of {len(data)} bytes ends within the bytes of word {i}")
    return found


def _middle(report: bytes) -> int:
    observations = words.array(report, OBSERVATIONS_AT)
    found = [words.sint(observations, i) for i in range(len(observations) // words.WORD)]
    if not 0 < len(found) <= MOST or found != sorted(found) or found[0] < 0:
        raise AdapterFault("a report whose observations do not ascend from 0")
    return found[len(found) // 2]


def call(answer: int, now: int) -> bytes:
    """The second form, of one observation, without the signatures that only its operators can give."""
    report = words.pack(now, 0, 4 * words.WORD, 0, 1, answer)
    head = words.pack(0, 0, 0, 7 * words.WORD, *(at * words.WORD for at in (8 + len(report) // words.WORD,) * 2), 0)
    return SECOND + head + words.pack(len(report)) + report + words.pack(0)
