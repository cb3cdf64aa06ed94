"""The last check before a signature, on the bytes themselves."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped]
from eth_abi.abi import decode
from hypothesis import given
from hypothesis import strategies as st

from keeper.errors import Broken
from keeper.model import Call, Floor, Reason
from keeper.protocols.abi import load
from keeper.protocols.desk import APPROVE, Counted, _ran, terms, through
from keeper.tx import rlp as mine
from keeper.tx.budget import Budget
from keeper.tx.guard import APPROVALS, Forbidden, Guard, read
from keeper.tx.keys import Key
from keeper.tx.machine import Refused
from keeper.tx.settings import Limits
from keeper.tx.signer import LocalSigner, local_signer

US, DESK, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
RUN = (DESK, b"\1\2\3\4")
PLAIN: dict[str, Any] = {
    "chain": 1, "nonce": 7, "tip": 1, "max_fee": 2, "gas": 21_000, "to": DESK, "value": 0, "data": b"\1\2\3\4"
}  # fmt: skip


def payload(kind: bytes = b"\2", access: Any = (), extra: tuple[Any, ...] = (), **change: Any) -> bytes:
    """An unsigned transaction by another serialiser than ours."""
    f = {**PLAIN, **change}
    numbers = [f["chain"], f["nonce"], f["tip"], f["max_fee"], f["gas"]]
    encoded: bytes = rlp.encode([*numbers, f["to"], f["value"], f["data"], list(access), *extra])
    return kind + encoded


def guard(**how: Any) -> Guard:
    return Guard(1, US, how.get("allowed", {RUN: None}), Budget(Limits(), wall=None))


# ─── shape ────────────────────────────────────────────────────────────────────────────────────────


@given(
    nonce=st.integers(0, 2**64), tip=st.integers(0, 2**90), gas=st.integers(0, 2**30), value=st.integers(0, 2**200),
    data=st.binary(max_size=300),
)  # fmt: skip
def test_what_is_read_is_what_was_written(nonce: int, tip: int, gas: int, value: int, data: bytes) -> None:
    tx = read(payload(nonce=nonce, tip=tip, gas=gas, value=value, data=data))
    assert (tx.nonce, tx.tip, tx.gas, tx.value, tx.data, tx.to) == (nonce, tip, gas, value, data, DESK)


@given(st.binary(max_size=200))
def test_there_is_one_spelling_of_everything(data: bytes) -> None:
    """Whatever is accepted, is what our serialiser would have written."""
    try:
        tx = read(b"\2" + data)
    except Forbidden:
        return
    again = [mine.number(n) for n in (tx.chain_id, tx.nonce, tx.tip, tx.max_fee, tx.gas)]
    again += [mine.octets(tx.to), mine.number(tx.value), mine.octets(tx.data), b"\xc0"]
    assert mine.sequence(b"".join(again)) == data


@pytest.mark.fault("P05", "P06", "T44")
@pytest.mark.parametrize(
    "strange",
    [
        payload(kind=b"\1"),  # access-list transaction
        payload(kind=b"\3"),  # blobs
        payload(kind=b"\4"),  # delegation
        payload()[1:],  # legacy
        b"\x19Ethereum Signed Message:\n5hello",  # EIP-191
        b"\x19\x01" + bytes(64),  # EIP-712
        payload(to=b""),  # a creation
        payload(to=b"\x22" * 19),
        payload(access=[[DESK, []]]),
        payload(extra=(b"",)),  # a field too many
        payload()[:-1],
        payload() + b"\0",  # trailing bytes
        b"\2\xc9\x01\x00\x80\x80\x80\x80\x80\x80\xc0",  # a zero that is not spelt 0x80
        b"\2\xf8\x01\x80",  # a length in the long form without need
        b"",
    ],
)
def test_only_plain_transactions_are_read(strange: bytes) -> None:
    with pytest.raises(Forbidden):
        read(strange)


@pytest.mark.fault("P05", "R14")
def test_another_chain_is_forbidden_by_the_bytes() -> None:
    with pytest.raises(Forbidden, match="chain 10; this key is for chain 1"):
        guard().check(payload(chain=10))


@pytest.mark.fault("T27", "P01")
@pytest.mark.parametrize("slip", [{"gas": 2**24 + 1}, {"gas": 20_999}, {"tip": 3}, {"max_fee": 10**15 + 1}])
def test_numbers_that_nobody_means_are_forbidden(slip: dict[str, Any]) -> None:
    guard().check(payload(gas=2**24, max_fee=2, tip=2))
    with pytest.raises(Forbidden, match="asked to sign for gas"):
        guard().check(payload(**slip))


# ─── calls ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("P05")
@pytest.mark.parametrize("call", [{"to": OTHER}, {"data": b"\1\2\3\5"}, {"data": b"\1\2\3"}, {"data": b""}])
def test_a_call_that_is_not_listed_is_forbidden(call: dict[str, Any]) -> None:
    guard().check(payload())
    with pytest.raises(Forbidden, match="not on the list"):
        guard().check(payload(**call))


@pytest.mark.fault("P07", "A23")
@pytest.mark.parametrize("selector", sorted(APPROVALS))
def test_an_approval_is_forbidden_even_if_it_is_listed(selector: bytes) -> None:
    for allowed in ({(DESK, selector): None}, None):
        with pytest.raises(Forbidden, match="approval"):
            guard(allowed=allowed).check(payload(data=selector + bytes(64)))


def test_the_selectors_of_approvals_are_those_of_their_names() -> None:
    from eth_utils.crypto import keccak

    assert {bytes(keccak(text=name))[:4]: name for name in APPROVALS.values()} == dict(APPROVALS)


# ─── terms ────────────────────────────────────────────────────────────────────────────────────────

CONTRACTS = load("keeper.protocols.options")
LIQUIDATOR, POOL, TOKEN = b"\x44" * 20, b"\x55" * 20, b"\x66" * 20
ENCODE: dict[str, Callable[..., bytes]] = {
    "bid": lambda limit: CONTRACTS["Liquidator"].call("bid", 1, 2, 10**18, limit, 3),
    "takeover": lambda limit: CONTRACTS["Liquidator"].call("takeover", 1, 2, limit, 3),
    "swap": lambda least: CONTRACTS["SpotPool"].call("swap", True, 10**18, least, f"0x{DESK.hex()}"),
    "flag": lambda scenario: CONTRACTS["Liquidator"].call("flag", 1, scenario),
    "approve": lambda amount: APPROVE + bytes(12) + LIQUIDATOR + amount.to_bytes(32),
}


def ran(*calls: tuple[str, int], deadline: int = 1000, floors: tuple[Floor, ...] = ()) -> bytes:
    made = tuple(Call(TOKEN if name == "approve" else LIQUIDATOR, ENCODE[name](value)) for name, value in calls)
    return through(DESK)(made, deadline, floors).data


@pytest.mark.fault("T41", "T42", "A08")
def test_a_call_on_terms_is_let_through_with_its_deadline() -> None:
    assert terms(ran(("bid", -(10**20)), ("swap", 1), deadline=77)).deadline == 77
    assert terms(ran(("takeover", 10**24))).deadline == 1000
    assert terms(ran(("flag", 3))).deadline == 1000
    assert terms(ran(("approve", 5), ("approve", 0))) == (1000, None)


@pytest.mark.fault("T41", "T42", "A08", "P07", "A23")
@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ((), "does nothing"),
        ((("bid", 2**255 - 1),), "no bound"),
        ((("bid", 2**127),), "no bound"),
        ((("takeover", 2**255 - 1),), "no bound"),
        ((("flag", 1), ("swap", 0)), "no bound"),
        ((("approve", 5),), "left standing"),
        ((("approve", 0), ("approve", 5)), "left standing"),
    ],
)
def test_a_call_that_the_chain_would_not_hold_to_its_terms_is_forbidden(calls: Any, why: str) -> None:
    data = ran(*calls)
    with pytest.raises(ValueError, match=why):
        terms(data)
    with pytest.raises(Forbidden, match=why):
        guard(allowed={(DESK, data[:4]): terms}).check(payload(data=data))


@given(st.data())
def test_a_call_that_is_cut_off_cannot_be_read(data: st.DataObject) -> None:
    whole = ran(("bid", 7), ("swap", 1))
    length = data.draw(st.integers(0, len(whole) - 61))
    with pytest.raises(ValueError, match="cannot be read"):
        terms(whole[:length])


CALLS = st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.binary(max_size=200)), max_size=4)
FLOORS = st.lists(
    st.builds(
        Floor,
        st.builds(Call, st.binary(min_size=20, max_size=20), st.binary(max_size=99)),
        st.integers(-(2**255), 2**255 - 1),
    ),
    max_size=3,
)


@given(CALLS, FLOORS, st.integers(0, 2**64))
def test_what_is_run_is_read_as_the_general_decoder_reads_it(
    calls: list[tuple[bytes, bytes]], floors: list[Floor], deadline: int
) -> None:
    made = through(DESK)(tuple(Call(target, data) for target, data in calls), deadline, tuple(floors)).data
    found, held, late = decode(CONTRACTS["Desk"].functions["run"].inputs, made[4:])
    assert _ran(made) == (
        [(bytes.fromhex(target[2:]), data) for target, data in found],
        [Floor(Call(bytes.fromhex(target[2:]), data), least) for target, data, least in held],
        late,
    )


# ─── what a purchase must bring ───────────────────────────────────────────────────────────────────

LEAST = 5 * 10**18  # US dollars, wad
PROOF = Call(b"\x77" * 20, b"our equity")
WORTH = Counted(frozenset(ENCODE[name](1)[:4] for name in ("bid", "takeover")), PROOF)


def bought(name: str, *floors: Floor) -> bytes:
    return payload(data=ran((name, 10**20), ("swap", 1), floors=floors))


def holding() -> Guard:
    run = through(DESK)((), 0).data[:4]
    return Guard(1, US, {(DESK, run): partial(terms, worths=[WORTH])}, Budget(Limits(min_profit=LEAST), wall=None))


@pytest.mark.fault("T41", "T42", "A08", "P01")
@pytest.mark.parametrize("name", ["bid", "takeover"])
def test_a_purchase_must_be_held_to_the_least_profit(name: str) -> None:
    holding().check(bought(name, Floor(PROOF, LEAST)))
    holding().check(bought(name, Floor(PROOF, -1), Floor(PROOF, LEAST)))  # all floors must hold: the highest counts
    for least in (LEAST - 1, 0, -LEAST, -(2**255)):
        with pytest.raises(Refused) as no:
            holding().check(bought(name, Floor(PROOF, least)))
        assert no.value.why is Reason.BELOW_MIN_PROFIT


@pytest.mark.fault("T41", "T42", "A08", "P05")
@pytest.mark.parametrize(
    "floors",
    [
        (),
        (Floor(Call(OTHER, PROOF.data), LEAST),),  # a contract that says what it is told to
        (Floor(Call(PROOF.target, b"another account's"), LEAST),),
    ],
)
def test_a_purchase_that_nothing_holds_to_a_gain_is_forbidden(floors: tuple[Floor, ...]) -> None:
    with pytest.raises(Forbidden, match="nothing says what that must bring"):
        holding().check(bought("bid", *floors))


def test_what_is_no_purchase_need_bring_nothing() -> None:
    holding().check(payload(data=ran(("flag", 1), ("swap", 1))))


@pytest.mark.fault("T32", "S25")
def test_a_deadline_must_be_there_and_near() -> None:
    def check(deadline: int) -> None:
        data = ran(("flag", 1), deadline=deadline)
        budget = Budget(Limits(deadline=60), wall=None)
        budget.at(1000)
        Guard(1, US, {(DESK, data[:4]): terms}, budget).check(payload(data=data))

    check(1060)
    with pytest.raises(Broken, match="deadline 1061, more than 60 s from 1000"):
        check(1061)
    budget = Budget(Limits(deadline=60), wall=None)
    with pytest.raises(Broken, match="deadline None"):
        Guard(1, US, {RUN: None}, budget).check(payload())


# ─── in the signer ────────────────────────────────────────────────────────────────────────────────


def signer(**limits: Any) -> LocalSigner:
    return local_signer(Key(b"\x46" * 32), 1, {RUN: None}, Budget(Limits(**limits), wall=None))


@pytest.mark.fault("P01", "P05")
def test_the_signer_asks_its_guard_about_the_bytes_it_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, hashed = list[bytes](), list[bytes]()

    def keccak(data: bytes) -> bytes:
        hashed.append(data)
        return bytes(32)

    one = signer()
    monkeypatch.setattr(one.guard, "check", seen.append)
    monkeypatch.setattr("keeper.tx.signer.keccak", keccak)
    one.sign(3, Call(*RUN), 30_000, 5, 4, 1)
    assert seen == hashed[:1] == [payload(nonce=3, gas=30_000, max_fee=5, tip=4)]


@pytest.mark.fault("P01", "T28")
def test_the_signer_refuses_more_than_the_cap_whoever_asks() -> None:
    one = signer(tx_cost=30_000 * 5)
    one.sign(3, Call(*RUN), 30_000, 5, 4, 1)
    with pytest.raises(Refused, match="worst case 180000 wei") as no:
        one.sign(4, Call(*RUN), 30_000, 6, 4, 1)
    assert no.value.why is Reason.RISK_TX_LIMIT
    with pytest.raises(Refused, match="worst case 150001 wei"):
        one.sign(4, Call(*RUN, 1), 30_000, 5, 4, 1)


@pytest.mark.fault("P05")
def test_value_needs_to_be_allowed() -> None:
    one = signer(tx_value=2)
    assert one.sign(3, Call(*RUN, 2), 30_000, 5, 4, 1)
    with pytest.raises(Refused, match="value 3 wei, at most 2"):
        one.sign(4, Call(*RUN, 3), 30_000, 5, 4, 1)
