"""Cut 32-byte words out of ABI-encoded data, and put them together.

Enough for events and calls whose arguments are static types; anything richer belongs to a codec.
"""

from functools import lru_cache
from struct import Struct
from typing import Final

from keeper.errors import AdapterFault

WORD: Final = 32  # bytes


def bytes32(data: bytes, i: int) -> bytes:
    """Word ``i`` (from 0) as it stands. AdapterFault when the data ends before it."""
    word = data[WORD * i : WORD * (i + 1)]
    if len(word) != WORD:
        raise AdapterFault(f"ABI data of {len(data)} bytes ends before word {i}")
    return word


def uint(data: bytes, i: int) -> int:
    """Word ``i`` as an unsigned integer."""
    return int.from_bytes(bytes32(data, i))


def sint(data: bytes, i: int) -> int:
    """Word ``i`` as a two's complement integer."""
    return int.from_bytes(bytes32(data, i), signed=True)


def address(data: bytes, i: int) -> bytes:
    """The low 20 bytes of word ``i``."""
    return bytes32(data, i)[12:]


def array(data: bytes, i: int) -> bytes:
    """The words of the array whose offset stands in word ``i``. AdapterFault when the data ends before they do."""
    at = uint(data, i)
    size = WORD * int.from_bytes(data[at : at + WORD])
    body = data[at + WORD : at + WORD + size]
    if at % WORD or len(data) < at + WORD or len(body) != size:
        raise AdapterFault(f"ABI data of {len(data)} bytes ends within the array of word {i}")
    return body


def quarters(data: bytes, i: int) -> tuple[int, ...]:
    """Each word of that array in four: 64 bits each, the most significant first, the third in two's complement."""
    body = array(data, i)
    return _quarters(len(body) // WORD).unpack(body)


@lru_cache(maxsize=256)
def _quarters(words: int) -> Struct:
    return Struct(">" + "QQqQ" * words)


def pack(*values: int | bytes) -> bytes:
    """One word each: integers in two's complement, bytes right-aligned as addresses are.

    OverflowError when an integer has more than 256 bits.
    """
    return b"".join(
        value.rjust(WORD, b"\0") if isinstance(value, bytes) else value.to_bytes(WORD, signed=value < 0)
        for value in values
    )


def error(message: str) -> bytes:
    """Revert data of ``require(false, message)``: ``Error(string)``."""
    text = message.encode()
    return bytes.fromhex("08c379a0") + pack(WORD, len(text)) + text + bytes(-len(text) % WORD)


def panic(code: int) -> bytes:
    """Revert data of the compiler's own checks, ``Panic(uint256)``: 0x11 overflow, 0x12 division by zero."""
    return bytes.fromhex("4e487b71") + pack(code)
