"""The transaction manager on a real node."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.chain.node import Node
from keeper.chain.rpc import connect
from keeper.errors import RiskHalt
from keeper.model import BlockRef, Call, Moment, Reason, TxEvent, TxIntent, TxState
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.tx.answers import Answer, classify
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import Key
from keeper.tx.manager import Manager
from keeper.tx.settings import Settings
from keeper.tx.signer import LocalSigner, local_signer
from keeper.units import GWEI
from tests.chain.manager_rig import LineNode

pytestmark = pytest.mark.chain

SETTINGS = Settings(Policy(hard_cap=1000 * GWEI), confirmations=2, finality=4, bump_after=2)
S = TxState


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with Anvil(base_fee=GWEI) as anvil:
        yield anvil


class Rig:
    """A fresh key, journal and manager on the shared chain."""

    def __init__(self, anvil: Anvil, folder: Path) -> None:
        self.node = LineNode(anvil.ipc)
        self.signer = local_signer(Key(secrets.token_bytes(32)), CHAIN_ID)
        anvil.set_balance(self.signer.address, 10**20)
        genesis = self.node.block("0x0").hash
        self.journal = Journal(folder / "journal.db", Binding(CHAIN_ID, genesis, self.signer.address, "test"))
        self.manager = Manager(self.node, self.journal, self.signer, SETTINGS)
        self.payee = secrets.token_bytes(20)

    def intent(self, **fields: Any) -> TxIntent:
        made = TxIntent(secrets.token_bytes(32), Call(self.payee, b"", 1), 21_000, 10**18, 2**40, "pay 1 wei")
        return replace(made, **fields)

    async def submit(self, intent: TxIntent) -> Sequence[TxEvent]:
        return await self.manager.submit(intent, self.node.block())

    async def mine(self, blocks: int = 1) -> list[tuple[TxState, Reason | None]]:
        seen: list[TxEvent] = []
        for _ in range(blocks):
            seen += await self.manager.on_block(self.node.mine())
        return [(event.state, event.why) for event in seen]

    async def paid(self) -> int:
        return await self.node.balance(self.payee)

    def close(self) -> None:
        self.journal.close()
        self.node.close()


@pytest.fixture
async def rig(anvil: Anvil, tmp_path: Path) -> AsyncIterator[Rig]:
    with closing(Rig(anvil, tmp_path)) as rig:
        rig.node.rpc("anvil_dropAllTransactions")
        rig.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        rig.node.mine()
        await rig.manager.recover()
        yield rig


async def test_an_intent_lives_its_whole_life(rig: Rig) -> None:
    await rig.submit(rig.intent())
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert await rig.mine() == [(S.CONFIRMED, None)]
    assert await rig.mine(2) == [(S.FINALIZED, None)]
    assert await rig.paid() == 1


async def test_the_predicted_base_fee_is_the_next_block_s(rig: Rig) -> None:
    for n in range(6):
        if n % 2:
            rig.node.rpc("anvil_setNextBlockBaseFeePerGas", hex((n + 3) * GWEI + n))
        await rig.submit(rig.intent(budget=10**19))
        head = rig.node.block()
        expected = head.next_base_fee if n % 2 == 0 else (n + 3) * GWEI + n
        assert rig.node.mine().base_fee == expected


@pytest.mark.fault("T06", "T17")
async def test_a_transaction_that_the_pool_evicted_in_a_spike_is_replaced_and_gets_in(rig: Rig) -> None:
    await rig.submit(rig.intent())
    rig.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(30 * GWEI))
    assert await rig.mine() == []
    assert (S.INCLUDED, None) in await rig.mine(4)
    assert await rig.paid() == 1


@pytest.mark.fault("T05")
async def test_a_transaction_that_the_pool_dropped_is_sent_again(rig: Rig) -> None:
    await rig.submit(rig.intent())
    rig.node.rpc("anvil_dropAllTransactions")
    assert await rig.mine(2) == [(S.INCLUDED, None)]


@pytest.mark.fault("T33")
async def test_an_expired_intent_is_cancelled_on_chain(rig: Rig) -> None:
    await rig.submit(rig.intent(valid_until=rig.node.block().timestamp))
    rig.node.rpc("anvil_dropAllTransactions")
    assert await rig.mine() == [(S.BROADCAST, Reason.EXPIRED)]
    assert await rig.mine(2) == [(S.CANCELLED, Reason.EXPIRED)]
    assert await rig.paid() == 0
    assert await rig.node.nonce(rig.signer.address) == 1


@pytest.mark.fault("S12", "S21")
async def test_a_reorg_is_survived(rig: Rig) -> None:
    await rig.submit(rig.intent())
    assert await rig.mine(2) == [(S.INCLUDED, None), (S.CONFIRMED, None)]
    rig.node.rpc("anvil_reorg", 2, [])
    assert await rig.paid() == 0
    assert await rig.mine() == [(S.BROADCAST, Reason.REORGED)]
    assert await rig.mine() == [(S.INCLUDED, None)]
    assert await rig.paid() == 1


@pytest.mark.fault("T23")
async def test_a_call_that_reverts_costs_nothing_and_shows_its_data(rig: Rig) -> None:
    reverter = bytes.fromhex("602a5f5260205ffd")  # MSTORE(0, 42); REVERT(0, 32)
    rig.node.rpc("anvil_setCode", "0x" + rig.payee.hex(), "0x" + reverter.hex())
    [event] = await rig.submit(rig.intent(gas_limit=60_000))
    assert (event.state, event.why, event.detail) == (S.ABANDONED, Reason.SIM_REVERTED, f"0x{42:064x}")
    assert rig.journal.flights() == []


async def test_a_call_is_simulated_at_the_moment_it_is_meant_for(rig: Rig) -> None:
    head = rig.node.block()
    later = Moment(head.number + 1, head.timestamp + 1_000, head.next_base_fee)
    # if (block.timestamp < later) revert(0, 0)
    early = bytes.fromhex(f"67{later.timestamp:016x}4210156012575f5ffd5b00")
    rig.node.rpc("anvil_setCode", "0x" + rig.payee.hex(), "0x" + early.hex())
    [event] = await rig.submit(rig.intent(gas_limit=60_000))
    assert event.why is Reason.SIM_REVERTED
    signed, _ = await rig.submit(rig.intent(gas_limit=60_000, at=later))
    assert signed.state is S.SIGNED


@pytest.mark.fault("T24")
async def test_a_revert_on_chain_is_told_by_its_receipt(rig: Rig, tmp_path: Path) -> None:
    rig.manager = Manager(rig.node, rig.journal, rig.signer, replace(SETTINGS, simulate=False))
    await rig.manager.recover()
    rig.node.rpc("anvil_setCode", "0x" + rig.payee.hex(), "0x5f5ffd")
    await rig.submit(rig.intent(gas_limit=60_000))
    [event] = await rig.manager.on_block(rig.node.mine())
    assert event.state is S.INCLUDED
    assert event.receipt is not None
    assert not event.receipt.ok
    assert event.receipt.fee > 0


@pytest.mark.fault("T09", "K11")
async def test_a_thief_who_bids_more_is_noticed(rig: Rig) -> None:
    await rig.submit(rig.intent())
    raw, _ = rig.signer.sign(0, Call(b"\x66" * 20, b"", 10**18), 21_000, 50 * GWEI, 2 * GWEI, CHAIN_ID)
    await rig.node.send(raw)
    assert await rig.mine(3) == [(S.REPLACED, Reason.REPLACED)]
    with pytest.raises(RiskHalt):
        await rig.submit(rig.intent())


@pytest.mark.fault("T04", "T13")
async def test_the_answers_of_this_node_are_understood(rig: Rig) -> None:
    def sign(nonce: int = 0, gas: int = 21_000, max_fee: int = 5 * GWEI, tip: int = 1, value: int = 1) -> bytes:
        return rig.signer.sign(nonce, Call(rig.payee, b"", value), gas, max_fee, tip, CHAIN_ID)[0]

    abroad: LocalSigner = local_signer(Key(secrets.token_bytes(32)), 1)
    heard = [
        classify(await rig.node.send(raw))
        for raw in (
            sign(max_fee=1),
            sign(gas=20_000),
            sign(gas=40_000_000),
            sign(tip=6 * GWEI),
            sign(value=10**24),
            b"\x02",
            abroad.sign(0, Call(rig.payee, b""), 21_000, 5 * GWEI, 1, 1)[0],
            sign(),
            sign(),
            sign(max_fee=4 * GWEI),
        )
    ]
    rig.node.mine()
    heard.append(classify(await rig.node.send(sign())))
    assert heard == [
        Answer.BASE_LOW,
        Answer.DEFINITE,
        Answer.DEFINITE,
        Answer.DEFINITE,
        Answer.FUNDS,
        Answer.DEFINITE,
        Answer.DEFINITE,
        Answer.ACCEPTED,
        Answer.HAVE_IT,
        Answer.REPLACE_LOW,
        Answer.CONSUMED,
    ]


async def test_it_works_through_the_keeper_s_own_client(rig: Rig, anvil: Anvil) -> None:
    client = connect(str(anvil.ipc))
    node = Node(client)

    async def rewards(head: BlockRef) -> list[int]:
        return [reward for (reward,) in (await node.fee_history(5, [60], head.number)).rewards]

    manager = Manager(node, rig.journal, rig.signer, SETTINGS, rewards)
    try:
        await manager.recover()
        await manager.submit(rig.intent(), await node.block("latest"))
        rig.node.mine()
        [event] = await manager.on_block(await node.block("latest"))
    finally:
        await client.close()
    assert event.state is S.INCLUDED
    assert await rig.paid() == 1
