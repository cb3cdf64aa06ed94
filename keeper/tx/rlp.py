"""RLP (Ethereum Yellow Paper, appendix B), as far as a transaction needs it. Reading is strict: one spelling each."""

from typing import Final

_SHORT: Final = 55  # longest payload whose length fits into the first byte


class NotCanonical(ValueError):
    """Bytes that no encoder of ours would write."""


def number(n: int) -> bytes:
    return octets(n.to_bytes((n.bit_length() + 7) // 8))


def octets(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _head(0x80, len(data)) + data


def sequence(payload: bytes) -> bytes:
    """A list, from its encoded items."""
    return _head(0xC0, len(payload)) + payload


def _head(base: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes((base + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((base + _SHORT + len(size),)) + size


def items(data: bytes) -> list[bytes]:
    """The items of one list of texts, of which the last may be an empty list. Raises NotCanonical."""
    start, end, kind = _span(data, 0)
    if kind is not list or end != len(data):
        raise NotCanonical("not exactly one list")
    found = []
    while start < end:
        first, last, kind = _span(data, start)
        if kind is list and first != last:
            raise NotCanonical("a list within the list")
        found.append(data[first:last])
        start = last
    return found


def integer(data: bytes) -> int:
    if data[:1] == b"\0":
        raise NotCanonical("a number with a leading zero")
    return int.from_bytes(data)


def _span(data: bytes, at: int) -> tuple[int, int, type]:
    """Where the content of the item at ``at`` begins and ends."""
    first = data[at] if at < len(data) else 0xFF
    if first < 0x80:
        return at, at + 1, bytes
    kind, base = (bytes, 0x80) if first < 0xC0 else (list, 0xC0)
    length, start = first - base, at + 1
    if length > _SHORT:
        size = length - _SHORT
        length, start = int.from_bytes(data[start : start + size]), start + size
    end = start + length
    if end > len(data) or data[at:start] != _head(base, length) or (end - start == 1 and _plain(data, start, kind)):
        raise NotCanonical("cut off, or written in a roundabout way")
    return start, end, kind


def _plain(data: bytes, at: int, kind: type) -> bool:
    """Whether a single byte was given a head that it does not need."""
    return kind is bytes and data[at] < 0x80
