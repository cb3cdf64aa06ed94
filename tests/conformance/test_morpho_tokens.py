"""Tokens that are not what they seem, through the desk: what is asked for arrives, or nothing is done.

The token's code is put behind a few instructions that change one ``transfer`` and leave the rest as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from keeper.chain.node import Node
from keeper.chain.rpc import connect
from keeper.errors import Reverted
from keeper.model import Address, Call, Liquidate
from keeper.protocols.abi import load
from keeper.protocols.conformance import follow
from keeper.protocols.desk import APPROVE, through
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.terms import LIQUIDATE
from keeper.simulation.node import Anvil
from tests.conformance.morpho_harness import call_data, compiled
from tests.conformance.morpho_life import Tx
from tests.conformance.morpho_world import GENESIS, MorphoWorld

pytestmark = pytest.mark.chain
DESK = load("keeper.protocols.options")["Desk"]
THIEF = b"\x66" * 20
GAS = 16_000_000


def evil(impl: Address, deed: str) -> str:
    """Code that does ``deed`` first when ``transfer`` is called, and then, always, what ``impl`` does."""
    transfer = keccak(text="transfer(address,uint256)")[:4].hex()
    return assembled(f"""
        CALLDATASIZE 0 0 CALLDATACOPY
        0 MLOAD 0xe0 SHR 0x{transfer} EQ ISZERO @go JUMPI
        {deed}
        :go 0 0 CALLDATASIZE 0 0x{impl.hex()} GAS DELEGATECALL
        RETURNDATASIZE 0 0 RETURNDATACOPY @ok JUMPI
        RETURNDATASIZE 0 REVERT
        :ok RETURNDATASIZE 0 RETURN
    """)


OPS = {
    "MUL": 0x02, "DIV": 0x04, "EQ": 0x14, "ISZERO": 0x15, "SHR": 0x1C, "CALLDATASIZE": 0x36, "CALLDATACOPY": 0x37,
    "RETURNDATASIZE": 0x3D, "RETURNDATACOPY": 0x3E, "MLOAD": 0x51, "MSTORE": 0x52, "SSTORE": 0x55, "JUMP": 0x56,
    "JUMPI": 0x57, "GAS": 0x5A, "CALL": 0xF1, "RETURN": 0xF3, "DELEGATECALL": 0xF4, "REVERT": 0xFD,
}  # fmt: skip


def assembled(text: str) -> str:
    """Words are instructions, numbers to push, ``:label`` (a JUMPDEST) or ``@label`` (where that is)."""
    code, places, uses = b"", dict[str, int](), dict[int, str]()
    for word in text.split():
        if word[0] == ":":
            places[word[1:]], code = len(code), code + b"\x5b"
        elif word[0] == "@":
            uses[len(code) + 1], code = word[1:], code + b"\x61\0\0"
        elif word in OPS:
            code += bytes([OPS[word]])
        else:
            number = bytes.fromhex(word[2:]) if word.startswith("0x") else int(word).to_bytes(1)
            code += bytes([0x5F + len(number)]) + number
    for at, label in uses.items():
        code = code[:at] + places[label].to_bytes(2) + code[at + 2 :]
    return f"0x{code.hex()}"


FEE = "10 9 36 MLOAD MUL DIV 36 MSTORE"  # a tenth of the amount stays behind
BURNS = ":on @on JUMP"  # for ever
TRIED, THROUGH = "0xab", "0xaa"  # slots that say whether it tried, and whether that went through


def entering(desk: Address, data: bytes) -> str:
    """Call the desk, whatever comes of it; then put the arguments of the token back."""
    words = (data[at : at + 32].ljust(32, b"\0") for at in range(0, len(data), 32))
    stores = " ".join(f"0x{word.hex()} 0x{32 * n:04x} MSTORE" for n, word in enumerate(words))
    call = f"0 0 0x{len(data):04x} 0 0 0x{desk.hex()} GAS CALL 1 {TRIED} SSTORE {THROUGH} SSTORE"
    return f"{stores} {call} CALLDATASIZE 0 0 CALLDATACOPY"


class Shop:
    """A market with one account that can be liquidated, and a desk to do it."""

    def __init__(self, world: MorphoWorld) -> None:
        self.world, self.venue = world, world.venues[0]
        owner = world.owner
        sent = world.node.rpc(
            "eth_sendTransaction", {"from": owner, "data": DESK.bytecode + owner.rjust(32, b"\0"), "gas": hex(GAS)}
        )
        world.mine()
        self.desk = bytes.fromhex(world.node.rpc("eth_getTransactionReceipt", sent)["contractAddress"][2:])
        loan, collateral = self.venue.params.loan, self.venue.params.collateral
        self.collateral = collateral
        self.adapter = MorphoBlue(replace(world.adapter.settings, desk=self.desk))
        world.adapter = self.adapter
        acts = [
            DESK.call("setOperator", f"0x{world.operator.hex()}", True),
            DESK.call("allow", f"0x{loan.hex()}", APPROVE, True, []),
            DESK.call("allow", f"0x{world.morpho.hex()}", LIQUIDATE, True, []),
        ]
        world._send(Tx(owner, self.desk, data) for data in acts)
        world._send([Tx(owner, loan, call_data("setBalance(address,uint256)", self.desk, 10**30))])
        world.settle(self.venue, world.users[0], collateral=self.venue.unit, part=100)
        world.set_price(self.venue, world.price(self.venue) * 97 // 100)
        book = world.book()
        follow(world, book)
        [self.offer] = [one for one in world.offers(book) if one.refusal is None]

    def call(self) -> Call:
        decision = Liquidate(self.offer, floor=self.offer.gain * 9 // 10)
        return through(self.desk)(self.adapter.calls(decision), 2**40, self.adapter.floors(decision))

    def becomes(self, deed: str) -> None:
        """The collateral's token, from now on."""
        node, impl = self.world.node, b"\x1a" * 20
        node.rpc("anvil_setCode", impl, node.rpc("eth_getCode", self.collateral, "latest"))
        node.rpc("anvil_setCode", self.collateral, evil(impl, deed))

    def tried(self, gas: int = GAS) -> str:
        """With which error the desk refuses; nothing when it does it."""
        call = self.call()
        fields = {"from": self.world.operator, "to": call.target, "data": call.data, "gas": hex(gas)}
        try:
            self.world.node.rpc("eth_call", fields, "latest")
        except Reverted as error:
            found = DESK.error(error.data)
            return found[0] if found else "nothing said"
        return ""


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with Anvil(timestamp=GENESIS, base_fee=10**9) as node:
        yield Shop(MorphoWorld(node, compiled(request.config.cache.mkdir("solc"))))


@pytest.mark.fault("A20")
def test_a_token_that_keeps_some_for_itself_is_not_bought(shop: Shop) -> None:
    """By the difference of balances, which the desk itself looks at."""
    assert shop.tried() == ""
    shop.becomes(FEE)
    assert shop.tried() == "BelowFloor"


@pytest.mark.fault("A20")
def test_a_price_that_moved_so_that_fewer_units_are_seized_is_not_taken(shop: Shop) -> None:
    shop.world.set_price(shop.venue, shop.world.price(shop.venue) * 1005 // 1000)
    assert shop.offer.plan.repaid_shares  # shares are named: how much is seized is the oracle's word
    assert shop.tried() == "BelowFloor"


@pytest.mark.fault("T41", "A08")
def test_a_price_that_fell_so_far_that_too_little_is_gained_is_not_taken(shop: Shop) -> None:
    """All collateral for so little that the incentive on it is not what the decision asks for."""
    world, venue = shop.world, shop.venue
    world.set_price(venue, world.price(venue) * 80 // 100)
    follow(world, book := world.book())
    [shop.offer] = [one for one in world.offers(book) if one.refusal is None]
    assert shop.offer.plan.seized  # the collateral is named, so nothing else bounds its price from below
    assert shop.tried() == ""
    world.set_price(venue, world.price(venue) * 85 // 100)
    assert shop.tried() == "BelowFloor"


@pytest.mark.fault("A21")
async def test_a_token_that_burns_all_gas_fails_in_the_simulation(shop: Shop) -> None:
    shop.becomes(BURNS)
    rpc = connect(str(shop.world.node.ipc))
    done = await Node(rpc).call(shop.call(), shop.world.operator, None, gas=1_000_000)
    await rpc.close()
    assert not done.ok


@pytest.mark.fault("A21", "T25")
async def test_what_needs_more_gas_than_it_will_have_fails_in_the_simulation(shop: Shop) -> None:
    """A token may well be content with what a node gives by default."""
    rpc = connect(str(shop.world.node.ipc))
    found = [(await Node(rpc).call(shop.call(), shop.world.operator, None, gas=gas)).ok for gas in (90_000, 1_000_000)]
    await rpc.close()
    assert found == [False, True]


@pytest.mark.fault("A21")
def test_a_token_that_enters_the_desk_again_achieves_nothing(shop: Shop) -> None:
    """Not even one that the owner made an operator: what it wants would go through at any other time."""
    world, loan = shop.world, shop.venue.params.loan
    theft = DESK.call("run", [(loan, APPROVE + THIEF.rjust(32, b"\0") + (10**20).to_bytes(32))], [], 2**40)
    world._send([Tx(world.owner, shop.desk, DESK.call("setOperator", f"0x{shop.collateral.hex()}", True))])
    world.node.rpc("eth_call", {"from": shop.collateral, "to": shop.desk, "data": theft}, "latest")  # it may
    shop.becomes(entering(shop.desk, theft))
    world._send([Tx(world.operator, shop.desk, shop.call().data)])
    told = [int(world.node.rpc("eth_getStorageAt", shop.collateral, slot, "latest"), 16) for slot in (TRIED, THROUGH)]
    assert told == [1, 0]
    assert int.from_bytes(world.ask(loan, "allowance(address,address)", shop.desk, THIEF)) == 0
