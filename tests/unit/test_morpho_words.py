"""Words of ABI data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.errors import AdapterFault
from keeper.protocols import words

uints = st.integers(0, 2**256 - 1)
sints = st.integers(-(2**255), 2**255 - 1)


@given(st.lists(uints, min_size=1))
def test_packed_unsigned_integers_come_back(values: list[int]) -> None:
    data = words.pack(*values)
    assert [words.uint(data, i) for i in range(len(values))] == values


@given(st.lists(sints, min_size=1))
def test_packed_signed_integers_come_back(values: list[int]) -> None:
    data = words.pack(*values)
    assert [words.sint(data, i) for i in range(len(values))] == values


@given(uints, st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32))
def test_bytes_come_back_from_their_own_word(number: int, address: bytes, word: bytes) -> None:
    data = words.pack(number, address, word)
    assert (words.address(data, 1), words.bytes32(data, 2)) == (address, word)


@given(st.integers(0, 95))
def test_data_that_ends_early_is_a_fault_not_a_smaller_number(length: int) -> None:
    with pytest.raises(AdapterFault):
        words.uint(words.pack(1, 2, 3)[:length], 2)


@pytest.mark.parametrize("value", [2**256, -(2**255) - 1])
def test_too_much_for_a_word_is_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        words.pack(value)


def test_error_is_encoded_as_solidity_does() -> None:
    assert words.error("position is healthy").hex() == (
        "08c379a0"
        "0000000000000000000000000000000000000000000000000000000000000020"
        "0000000000000000000000000000000000000000000000000000000000000013"
        "706f736974696f6e206973206865616c74687900000000000000000000000000"
    )


def test_panic_is_encoded_as_solidity_does() -> None:
    assert words.panic(0x11).hex() == "4e487b71" + "11".rjust(64, "0")
