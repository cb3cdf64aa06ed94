"""The sealed stage on the deployed contracts: A13 of the list of what went wrong elsewhere, and the Python telling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper.protocols.options import sealed
from keeper.protocols.options.sealed import Phase
from keeper.simulation.node import Anvil
from keeper.units import WAD, wad
from tests.protocol.conftest import PUT
from tests.worlds.house import House
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain

SECRET = bytes(range(32))
COMMIT, REVEAL = 12, 12  # live seconds


@pytest.fixture(scope="module")
def market() -> Iterator[House]:
    """Alice has sold puts to the whale; three are invited. The stage is long enough for several blocks."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil)
        a = replace(house.sets.auction, commit_time=COMMIT, reveal_time=REVEAL, dust=0)
        house.govern("Params", "propose", replace(house.sets, auction=a).as_abi())
        house.govern("Params", "accept", 2)
        house.open()
        for name, dollars in (("whale", 5e6), ("alice", 60_000), ("ann", 1e6), ("bob", 1e6), ("carl", 1e6)):
            house.give(name, dollars)
        for name in ("ann", "bob", "carl"):
            house.govern("Sealed", "invite", house.who(name), True)
        house.trade("alice", "whale", [PUT], -6_700)
        house.fall(1450.0, 40_000)
        house.flag("alice")
        yield house


@pytest.fixture
def house(market: House) -> Iterator[House]:
    with market.undone():
        yield market


def flagged_at(house: House) -> int:
    running = house.state.auction(house.account("alice"))
    assert running is not None
    return running.flagged_at


def hashed(house: House, name: str, rho: int, most: int = WAD) -> bytes:
    who, salt = (
        (house.account("alice"), flagged_at(house)),
        sealed.salt(SECRET, house.account("alice"), flagged_at(house)),
    )
    return sealed.hash_of(31337, house.dep.sealed, *who, (house.account(name), rho, most), salt)


def commit(house: House, name: str, rho: str, most: str = "1") -> None:
    args = (house.account("alice"), house.account(name), hashed(house, name, wad(rho), wad(most)), bytes(32))
    house.do(name, "Sealed", "commit", *args)


def opening(house: House, name: str, rho: str, most: str = "1") -> tuple[int, int, int, int, bytes]:
    account = house.account("alice")
    return account, house.account(name), wad(rho), wad(most), sealed.salt(SECRET, account, flagged_at(house))


def reveal(house: House, name: str, rho: str, most: str = "1") -> None:
    house.do(name, "Sealed", "reveal", *opening(house, name, rho, most))


def wait(house: House, after: int) -> None:
    """Until so many live seconds after the flag, prices published on the way."""
    house.ripen(flagged_at(house) + after - house.now)


def phase(house: House) -> Phase:
    """Where it stands, by both tellings."""
    account, running = house.account("alice"), house.state.auction(house.account("alice"))
    assert running is not None
    ours = sealed.phase(house.state, account, running, house.now)
    clock = house.ask("Liquidator", house.dep.liquidator, "sealedClock", account)
    assert house.ask("Sealed", house.dep.sealed, "phase", *clock[:1], account, *clock[1:]) == ours
    return ours


def test_the_lowest_discount_is_filled_first_and_each_at_his_own(house: House) -> None:
    cash = {n: house.holds(n).cash for n in ("ann", "bob", "carl")}
    commit(house, "ann", "0.05")
    commit(house, "bob", "0.03", "0.2")
    commit(house, "carl", "0.03", "0.1")  # a tie: the earlier commitment first
    assert phase(house) is Phase.COMMIT
    assert cash["ann"] - house.holds("ann").cash == pytest.approx(house.health("alice").mm * 2 // 100, rel=1e-3)
    wait(house, COMMIT + 1)
    for name, rho, most in (("carl", "0.03", "0.1"), ("ann", "0.05", "1"), ("bob", "0.03", "0.2")):
        reveal(house, name, rho, most)
    wait(house, COMMIT + REVEAL + 1)
    assert phase(house) is Phase.AWARD
    order, rhos = list[str](), list[int]()
    for _ in range(3):
        before = {n: house.size(n, PUT) for n in ("ann", "bob", "carl")}
        facts_from = house.node.head().number
        house.do("anyone", "Sealed", "award", house.account("alice"))
        order += [n for n in before if house.size(n, PUT) != before[n]]
        rhos += sold(house, facts_from)
    assert order == ["bob", "carl", "ann"]
    assert rhos == [wad("0.03"), wad("0.03"), wad("0.05")]
    h = house.health("alice")
    assert h.equity / h.mm == pytest.approx(1.25, rel=1e-3) and not house.auctioned("alice")
    assert house.holds_id(int.from_bytes(house.dep.sealed)).cash == 0  # all bonds went back
    assert house.total() == house.backed()


def sold(house: House, since: int) -> list[int]:
    """The discount of every sale after a block, wad."""
    topic = "0x" + house.c["Liquidator"].events["Sold"].topic.hex()
    where = {"fromBlock": hex(since + 1), "address": house.dep.liquidator, "topics": [topic]}
    return [int(log["data"][2:][128:192], 16) for log in house.node.rpc("eth_getLogs", where)]


def test_while_bids_are_sealed_the_public_waits(house: House) -> None:
    commit(house, "ann", "0.05")
    commit(house, "bob", "0.03")
    args = (house.account("alice"), house.account("carl"), WAD, 10**40, house.change("alice"))
    assert house.refused("carl", "Liquidator", "bid", *args) == "SealedStage"
    wait(house, COMMIT + REVEAL - 4)
    assert house.refused("carl", "Liquidator", "bid", *args) == "SealedStage"
    wait(house, COMMIT + 2 * REVEAL + 1)
    assert house.refused("carl", "Liquidator", "bid", *args) == ""


def test_nobody_commits(house: House) -> None:
    wait(house, COMMIT + 1)
    assert phase(house) is Phase.OVER
    house.bid("alice", "carl")
    assert not house.auctioned("alice")


def test_one_alone_makes_no_stage_and_has_his_bond_back(house: House) -> None:
    cash = house.holds("ann").cash
    commit(house, "ann", "0.0")
    wait(house, COMMIT + 1)
    assert phase(house) is Phase.OVER
    assert house.refused("ann", "Sealed", "reveal", *opening(house, "ann", "0.0")) == "WrongPhase"
    house.bid("alice", "carl", most=wad("0.01"))
    house.do("anyone", "Sealed", "release", house.account("alice"))
    assert house.holds("ann").cash == cash


def test_nobody_reveals(house: House) -> None:
    cash = {n: house.holds(n).cash for n in ("ann", "bob")}
    for name in cash:
        commit(house, name, "0.05")
    wait(house, COMMIT + REVEAL + 1)
    assert phase(house) is Phase.OVER
    house.bid("alice", "carl")
    lost = sum(cash[n] - house.holds(n).cash for n in cash)
    assert house.state.clearing().fund + house.state.clearing().reserve > lost > 0
    assert house.holds_id(int.from_bytes(house.dep.sealed)).cash == 0
    assert house.total() == house.backed()


def test_one_reveals_and_the_other_pays_for_keeping_silent(house: House) -> None:
    cash, fund = house.holds("bob").cash, house.state.clearing().fund
    commit(house, "ann", "0.05", "0.01")
    commit(house, "bob", "0.03")
    wait(house, COMMIT + 1)
    reveal(house, "ann", "0.05", "0.01")
    wait(house, COMMIT + REVEAL + 1)
    assert house.refused("bob", "Sealed", "reveal", *opening(house, "bob", "0.03")) == "WrongPhase"
    house.do("anyone", "Sealed", "award", house.account("alice"))
    house.do("anyone", "Sealed", "release", house.account("alice"))
    lost = cash - house.holds("bob").cash
    assert lost == pytest.approx(house.health("alice").mm * 2 // 100, rel=0.5) and lost > 0
    assert house.state.clearing().fund - fund > lost  # with the fee of the sale


def test_a_commitment_that_was_copied_cannot_be_opened(house: House) -> None:
    """ENS: the hash must contain the bidder."""
    commit(house, "ann", "0.05")
    stolen = (house.account("alice"), house.account("bob"), hashed(house, "ann", wad("0.05")), bytes(32))
    house.do("bob", "Sealed", "commit", *stolen)
    wait(house, COMMIT + 1)
    reveal(house, "ann", "0.05")
    assert house.refused("bob", "Sealed", "reveal", *opening(house, "bob", "0.05")) == "BadReveal"


def test_what_may_not_be_committed_or_opened(house: House) -> None:
    def committing(name: str, bidder: str) -> str:
        args = (house.account("alice"), house.account(bidder), bytes(32), bytes(32))
        return house.refused(name, "Sealed", "commit", *args)

    assert committing("whale", "whale") == "NotInvited"
    assert committing("whale", "ann") == "Unauthorised"
    commit(house, "ann", "0.05")
    commit(house, "bob", "0.11")  # beyond rhoSealed
    assert committing("ann", "ann/1") == "Already"
    wait(house, COMMIT + 1)
    assert house.refused("bob", "Sealed", "reveal", *opening(house, "bob", "0.11")) == "BadReveal"
    assert house.refused("ann", "Sealed", "reveal", *opening(house, "ann", "0.04")) == "BadReveal"
    assert house.refused("carl", "Sealed", "reveal", *opening(house, "carl", "0.04")) == "NoCommitment"
    assert committing("carl", "carl") == "WrongPhase"


def test_a_winner_without_margin_loses_his_bond_and_the_next_is_filled(house: House) -> None:
    commit(house, "ann", "0.01")
    commit(house, "bob", "0.05")
    wait(house, COMMIT + 1)
    reveal(house, "ann", "0.01")
    reveal(house, "bob", "0.05")
    native = house.holds("ann").cash // 10**12 - 10 * 10**6
    house.do("ann", "Clearing", "withdraw", house.account("ann"), 0, native, house.who("ann"))
    wait(house, COMMIT + REVEAL + 1)
    fund = house.state.clearing().fund
    house.do("anyone", "Sealed", "award", house.account("alice"))
    assert house.size("ann", PUT) == 0 and house.state.clearing().fund > fund
    house.do("anyone", "Sealed", "award", house.account("alice"))
    assert house.size("bob", PUT) < 0


def test_a_cure_between_commit_and_reveal_returns_all_bonds(house: House) -> None:
    cash = {n: house.holds(n).cash for n in ("ann", "bob")}
    for name in cash:
        commit(house, name, "0.05")
    house.give("alice", 50_000)
    house.do("anyone", "Liquidator", "cure", house.account("alice"))
    assert {n: house.holds(n).cash for n in cash} == cash


def test_an_emptied_guest_list_does_not_end_a_stage_that_has_begun(house: House) -> None:
    commit(house, "ann", "0.05")
    commit(house, "bob", "0.06")
    for name in ("ann", "bob", "carl"):
        house.govern("Sealed", "invite", house.who(name), False)
    wait(house, COMMIT + 1)
    assert phase(house) is Phase.REVEAL
    reveal(house, "ann", "0.05")
    wait(house, COMMIT + REVEAL + 1)
    house.do("anyone", "Sealed", "award", house.account("alice"))
    assert house.size("ann", PUT) < 0


def test_an_auction_that_continues_after_a_cure_has_no_second_stage(house: House) -> None:
    house.give("alice", 50_000)
    house.do("anyone", "Liquidator", "cure", house.account("alice"))
    house.fall(900.0, 40_000)
    house.flag("alice")
    assert phase(house) is Phase.NONE


def test_the_public_clock_runs_from_the_flag(house: House) -> None:
    commit(house, "ann", "0.05")
    commit(house, "bob", "0.03")
    wait(house, COMMIT + 2 * REVEAL + 1)
    t = COMMIT + 2 * REVEAL + 1
    assert house.offer("alice").rho == pytest.approx(house.params.auction.rho1 * t / house.params.auction.t1, rel=0.1)


def test_a_bid_is_found_again_from_key_and_chain_alone() -> None:
    account, at = int.from_bytes(bytes(range(20))), 1_700_000_123
    noted = sealed.note(SECRET, account, at, wad("0.0375"), wad("0.8"))
    assert sealed.read_note(SECRET, account, at, noted) == (wad("0.0375"), wad("0.8"))
    assert sealed.read_note(bytes(32), account, at, noted) != (wad("0.0375"), wad("0.8"))
    salts = {sealed.salt(s, a, t) for s in (SECRET, bytes(32)) for a in (account, 5) for t in (at, at + 1)}
    assert len(salts) == 8
