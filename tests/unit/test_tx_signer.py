import pickle

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.errors import Broken, WrongChain
from keeper.model import Call
from keeper.tx import signer as signing
from keeper.tx.keys import ORDER, Key
from keeper.tx.signer import LocalSigner, coincurve_curve, eth_account_curve, local_signer

SECRET = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
TARGET = b"\x11" * 20


def make(chain_id: int = 1, allowed: set[tuple[bytes, bytes]] | None = None) -> LocalSigner:
    return local_signer(Key(SECRET), chain_id, allowed)


def reference(
    secret: bytes, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int
) -> tuple[bytes, bytes]:
    fields = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "to": call.target,
        "value": call.value,
        "data": call.data,
        "gas": gas,
        "maxFeePerGas": max_fee,
        "maxPriorityFeePerGas": tip,
    }
    signed = Account.sign_transaction(fields, secret)
    return bytes(signed.raw_transaction), bytes(signed.hash)


calls = st.builds(
    Call,
    target=st.binary(min_size=20, max_size=20),
    data=st.one_of(
        st.binary(max_size=70), st.sampled_from([b"\0", b"\x7f", b"\x80", b"\1" * 255, b"\2" * 256, b"\3" * 70_000])
    ),
    value=st.integers(0, 2**128),
)
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32))


@settings(max_examples=150, deadline=None)
@given(
    secret=secrets,
    nonce=st.integers(0, 2**40),
    call=calls,
    gas=st.integers(0, 2**30),
    max_fee=st.integers(0, 2**70),
    tip=st.integers(0, 2**70),
    chain_id=st.integers(1, 2**40),
)
def test_signed_bytes_equal_those_of_eth_account(
    secret: bytes, nonce: int, call: Call, gas: int, max_fee: int, tip: int, chain_id: int
) -> None:
    mine = local_signer(Key(secret), chain_id).sign(nonce, call, gas, max_fee, tip, chain_id)
    assert mine == reference(secret, nonce, call, gas, max_fee, tip, chain_id)


@pytest.mark.fault("K07")
def test_both_curves_are_one() -> None:
    fast, slow = coincurve_curve(Key(SECRET)), eth_account_curve(Key(SECRET))
    assert fast[0] == slow[0] == bytes.fromhex(Account.from_key(SECRET).address[2:])
    for digest in (b"\0" * 31 + b"\1", b"\xff" * 32, bytes(range(32))):
        assert fast[1](digest) == slow[1](digest)


def test_without_coincurve_eth_account_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(TARGET, b"\1\2\3\4", 5)
    fast = make().sign(7, call, 21_000, 9, 8, 1)

    def missing(key: Key) -> None:
        raise ImportError("No module named 'coincurve'")

    monkeypatch.setattr(signing, "coincurve_curve", missing)
    assert make().sign(7, call, 21_000, 9, 8, 1) == fast


@pytest.mark.fault("R14")
def test_another_chain_is_refused() -> None:
    with pytest.raises(WrongChain, match="chain 10; this signer is for chain 1"):
        make().sign(0, Call(TARGET, b""), 21_000, 2, 1, 10)


def test_a_listed_call_is_signed_whatever_its_arguments() -> None:
    assert make(allowed={(TARGET, b"\1\2\3\4")}).sign(0, Call(TARGET, b"\1\2\3\4\5\6"), 21_000, 2, 1, 1)


@pytest.mark.fault("P05")
@pytest.mark.parametrize(
    "call",
    [
        Call(TARGET, b"\1\2\3\5"),  # another selector
        Call(b"\x12" * 20, b"\1\2\3\4"),  # another target
        Call(TARGET, b""),  # a plain transfer
        Call(TARGET, b"\1\2\3"),  # too short to select anything
    ],
)
def test_a_call_that_is_not_listed_is_refused(call: Call) -> None:
    with pytest.raises(Broken, match="not on the list"):
        make(allowed={(TARGET, b"\1\2\3\4")}).sign(0, call, 21_000, 2, 1, 1)


def test_the_no_op_is_always_allowed_but_only_the_no_op() -> None:
    signer = make(allowed=set())
    assert signer.sign(0, Call(signer.address, b""), 21_000, 2, 1, 1)
    for call in (Call(signer.address, b"", 1), Call(signer.address, b"\0")):
        with pytest.raises(Broken):
            signer.sign(0, call, 21_000, 2, 1, 1)


def test_a_contract_creation_is_refused() -> None:
    with pytest.raises(Broken, match="20-byte target"):
        make().sign(0, Call(b"", b"\x60\x00"), 21_000, 2, 1, 1)


@pytest.mark.fault("K05")
@pytest.mark.parametrize("thing", [Key(SECRET), make(), local_signer(Key(SECRET), 1, set())])
def test_the_key_is_not_shown(thing: object) -> None:
    shown = [repr(thing), str(thing), f"{thing}", repr([thing]), repr([getattr(thing, n, "") for n in thing.__slots__])]  # type: ignore[attr-defined]
    hidden = [SECRET.hex(), repr(SECRET)[2:-1], str(int.from_bytes(SECRET)), str(list(SECRET))]
    assert not [secret for secret in hidden for text in shown if secret in text]
    with pytest.raises(TypeError):
        vars(thing)
    with pytest.raises(TypeError):
        pickle.dumps(thing)
