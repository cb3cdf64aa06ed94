"""The node process: what the driver of a simulated world relies on."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from keeper.errors import Broken, KeeperError, Misconfigured, NodeUnavailable, Reverted
from keeper.simulation.node import CHAIN_ID, FORK_CHAIN_ID, Anvil

pytestmark = pytest.mark.chain

T0 = 1_700_000_000
KEY = b"\x01" * 32
ALICE, BOB = b"\xaa" * 20, b"\xbb" * 20
GWEI = 10**9


@pytest.fixture(scope="module")
def world() -> Iterator[Anvil]:
    with Anvil(timestamp=T0, base_fee=GWEI) as node:
        yield node


@pytest.fixture
def node(world: Anvil) -> Iterator[Anvil]:
    """The shared world, put back after the test."""
    before = world.snapshot()
    yield world
    world.revert(before)


def dev(node: Anvil, n: int) -> str:
    return str(node.rpc("eth_accounts")[n])


def transfer(node: Anvil, sender: str, *, gas: int = 21_000, cap: int = 2 * GWEI) -> str:
    tip = {"maxFeePerGas": hex(cap), "maxPriorityFeePerGas": hex(1)}
    return str(node.rpc("eth_sendTransaction", {"from": sender, "to": BOB, "value": "0x1", "gas": hex(gas), **tip}))


def balance(node: Anvil, address: bytes) -> int:
    return int(node.rpc("eth_getBalance", address, "latest"), 16)


def ended(pidfd: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ends within the time."""
    return bool(select.select([pidfd], [], [], seconds)[0])


# ── life ──


def test_it_answers_over_http(node: Anvil) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}).encode()
    request = urllib.request.Request(node.url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert int(json.load(answer)["result"], 16) == CHAIN_ID


async def test_it_answers_over_websocket(node: Anvil) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(node.ws) as ws:
        await ws.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
        assert int((await ws.receive_json(timeout=10))["result"], 16) == CHAIN_ID


async def test_it_can_be_entered_from_a_coroutine() -> None:
    async with Anvil() as node:
        assert node.head().number == 0


async def test_a_cancelled_start_leaves_no_process() -> None:
    node = Anvil()
    start = asyncio.ensure_future(node.__aenter__())
    await asyncio.sleep(0)  # to the first suspension, with the process spawned
    pidfd = os.pidfd_open(node.pid)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert ended(pidfd, 10)
    os.close(pidfd)


def test_two_at_once_have_their_own_ports_and_worlds(node: Anvil) -> None:
    with Anvil() as other:
        other.set_balance(ALICE, 5)
        assert other.port != node.port
        assert (balance(other, ALICE), balance(node, ALICE)) == (5, 0)


def test_stop_ends_the_process_and_removes_its_files() -> None:
    node = Anvil().start()
    pidfd, room = os.pidfd_open(node.pid), node.ipc.parent
    node.stop()
    assert ended(pidfd, 0)
    assert not room.exists()
    os.close(pidfd)


def test_stopping_twice_is_harmless_and_starting_again_works() -> None:
    node = Anvil()
    for _ in range(2):
        with node:
            assert node.head().number == 0
        node.stop()


def test_a_stopped_node_says_so() -> None:
    with pytest.raises(Broken, match="not running"):
        Anvil().rpc("eth_chainId")


def test_starting_a_running_node_is_refused_and_leaves_it_running(node: Anvil) -> None:
    with pytest.raises(Broken, match="running already"):
        node.start()
    assert node.rpc("eth_chainId") == hex(CHAIN_ID)


CHILD = (
    "from keeper.simulation.node import Anvil; import signal; print(Anvil().start().pid, flush=True); signal.pause()"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout
    with child.stdout as said:
        pidfd = os.pidfd_open(int(said.readline()))
    assert not ended(pidfd, 0)
    child.kill()
    child.wait()
    assert ended(pidfd, 10)
    os.close(pidfd)


def test_it_is_not_told_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_KEYSTORE_PASSWORD", "hunter2")
    with Anvil() as node:
        assert b"hunter2" not in Path(f"/proc/{node.pid}/environ").read_bytes()


def test_a_node_that_dies_is_unavailable() -> None:
    with Anvil() as node:
        node._running()[0].kill()
        with pytest.raises(NodeUnavailable):
            node.rpc("eth_chainId")


def test_bad_arguments_are_reported_in_anvils_words() -> None:
    with pytest.raises(Misconfigured, match="unexpected argument '--nonsense'"):
        Anvil(extra=("--nonsense",)).start()


def test_a_node_that_does_not_come_up_in_time_is_unavailable() -> None:
    node = Anvil(patience=-1.0)
    with pytest.raises(NodeUnavailable, match="did not come up"):
        node.start()


# ── the world ──


def test_the_world_starts_as_asked() -> None:
    with Anvil(chain_id=77, timestamp=T0, base_fee=7, gas_limit=12_345_678, extra=("--accounts", "2")) as node:
        head = node.head()
        assert (head.number, head.timestamp, head.base_fee, head.gas_limit) == (0, T0, 7, 12_345_678)
        assert int(node.rpc("eth_chainId"), 16) == 77
        assert len(node.rpc("eth_accounts")) == 2


def test_blocks_come_only_when_asked_for(node: Anvil) -> None:
    tx = transfer(node, dev(node, 0))
    assert node.rpc("eth_getTransactionReceipt", tx) is None
    node.mine()
    assert node.rpc("eth_getTransactionReceipt", tx)["status"] == "0x1"


def test_a_block_has_the_given_time_and_extends_the_last(node: Anvil) -> None:
    before = node.head()
    block = node.mine(before.timestamp + 12)
    assert (block.number, block.parent, block.timestamp) == (before.number + 1, before.hash, before.timestamp + 12)
    assert block == node.head()


def test_time_does_not_go_back(node: Anvil) -> None:
    with pytest.raises(Broken, match="evm_mine"):
        node.mine(T0 - 1)


def test_transactions_run_in_the_order_of_arrival_whatever_they_pay(node: Anvil) -> None:
    sent = [transfer(node, dev(node, n), cap=(2 + 3 * n % 7) * GWEI) for n in range(6)]
    node.mine()
    assert node.rpc("eth_getBlockByNumber", "latest", False)["transactions"] == sent


def test_by_fees_the_highest_cap_runs_first() -> None:
    with Anvil(order="fees", base_fee=GWEI) as node:
        low, high = transfer(node, dev(node, 0)), transfer(node, dev(node, 1), cap=9 * GWEI)
        node.mine()
        assert node.rpc("eth_getBlockByNumber", "latest", False)["transactions"] == [high, low]


def test_automine_makes_a_block_of_its_own_for_a_transaction() -> None:
    with Anvil(automine=True) as node:
        raw = signed(CHAIN_ID, node)
        assert node.rpc("eth_sendRawTransactionSync", raw)["blockNumber"] == "0x1"


def test_blocks_can_come_by_themselves() -> None:
    with Anvil(block_time=1) as node:
        raw = signed(CHAIN_ID, node)
        assert node.rpc("eth_sendRawTransactionSync", raw)["status"] == "0x1"


def test_mainnets_gas_cap_per_transaction_is_in_force(node: Anvil) -> None:
    transfer(node, dev(node, 0), gas=2**24)
    with pytest.raises(Broken, match="gas"):
        transfer(node, dev(node, 1), gas=2**24 + 1)


def test_a_balance_is_set_in_wei(node: Anvil) -> None:
    node.set_balance(ALICE, 10**18 + 1)
    assert balance(node, ALICE) == 10**18 + 1


def test_revert_goes_back_to_the_snapshot(node: Anvil) -> None:
    before, snapshot = node.head(), node.snapshot()
    node.set_balance(ALICE, 7)
    node.mine()
    node.revert(snapshot)
    assert (node.head(), balance(node, ALICE)) == (before, 0)


def test_a_snapshot_is_good_for_one_revert(node: Anvil) -> None:
    snapshot = node.snapshot()
    node.revert(snapshot)
    with pytest.raises(Broken, match="one revert"):
        node.revert(snapshot)


def test_a_dump_starts_the_same_world_elsewhere(node: Anvil) -> None:
    node.set_balance(ALICE, 7)
    node.mine(T0 + 1000)
    with Anvil(state=node.dump_state()) as copy:
        assert copy.head() == node.head()
        assert balance(copy, ALICE) == 7


def test_a_dump_can_be_loaded_into_a_running_world(node: Anvil) -> None:
    node.set_balance(ALICE, 7)
    with Anvil() as other:
        other.load_state(node.dump_state())
        assert balance(other, ALICE) == 7


# ── rpc ──


def test_a_batch_answers_in_the_order_of_its_calls(node: Anvil) -> None:
    addresses = [bytes([n]) * 20 for n in range(1, 200)]
    node.batch([("anvil_setBalance", address, hex(address[0])) for address in addresses])
    answers = node.batch([("eth_getBalance", address, "latest") for address in addresses])
    assert [int(answer, 16) for answer in answers] == list(range(1, 200))


def test_an_empty_batch_asks_nothing(node: Anvil) -> None:
    assert node.batch([]) == []


def test_a_refusal_within_a_batch_is_raised(node: Anvil) -> None:
    with pytest.raises(Broken, match="anvil_nonsense"):
        node.batch([("eth_chainId",), ("anvil_nonsense",)])


def test_a_large_message_goes_through_in_one_piece(node: Anvil) -> None:
    code = bytes(range(256)) * 4096  # 1 MiB
    node.rpc("anvil_setCode", ALICE, code)
    assert node.rpc("eth_getCode", ALICE, "latest") == "0x" + code.hex()


def test_a_revert_carries_its_data(node: Anvil) -> None:
    revert_with_ff = bytes.fromhex("60ff60005260206000fd")
    with pytest.raises(Reverted) as caught:
        node.rpc("eth_call", {"data": revert_with_ff}, "latest")
    assert caught.value.data == (0xFF).to_bytes(32, "big")


# ── forks ──


def signed(chain_id: int, *funded: Anvil, legacy: bool = False) -> bytes:
    """A transfer of 1 wei to BOB from a key that has money on the given nodes."""
    from eth_account import Account

    account = Account.from_key(KEY)
    for node in funded:
        node.set_balance(bytes.fromhex(account.address[2:]), 10**18)
    fees = {"gasPrice": 5 * GWEI} if legacy else {"maxFeePerGas": 5 * GWEI, "maxPriorityFeePerGas": 1}
    fields = {"nonce": 0, "to": BOB, "value": 1, "gas": 21_000, "chainId": chain_id, **fees}
    return bytes(account.sign_transaction(fields).raw_transaction)


@pytest.fixture
def fork(node: Anvil) -> Iterator[Anvil]:
    with Anvil(fork_url=node.url) as copy:
        yield copy


def test_a_fork_sees_its_origin(node: Anvil) -> None:
    node.set_balance(ALICE, 7)
    head = node.mine()
    with Anvil(fork_url=node.url) as fork:
        assert (balance(fork, ALICE), fork.head().hash) == (7, head.hash)


def test_a_fork_leaves_its_origin_untouched(node: Anvil, fork: Anvil) -> None:
    before = node.head()
    fork.set_balance(ALICE, 9)
    fork.mine()
    assert (node.head(), balance(node, ALICE)) == (before, 0)


def test_a_fork_does_not_follow_its_origin(node: Anvil, fork: Anvil) -> None:
    before = fork.head()
    node.mine()
    assert fork.head() == before


def test_a_fork_can_begin_at_an_older_block(node: Anvil) -> None:
    older = node.mine()
    node.mine()
    with Anvil(fork_url=node.url, fork_block=older.number) as fork:
        assert fork.head().hash == older.hash


def test_a_fork_has_its_own_chain_id_and_contracts_see_it(fork: Anvil) -> None:
    return_chain_id = bytes.fromhex("4660005260206000f3")
    assert int(fork.rpc("eth_chainId"), 16) == FORK_CHAIN_ID
    assert int(fork.rpc("eth_call", {"data": return_chain_id}, "latest"), 16) == FORK_CHAIN_ID


def test_what_is_signed_on_a_fork_works_there_and_is_refused_by_its_origin(node: Anvil, fork: Anvil) -> None:
    raw = signed(FORK_CHAIN_ID, node, fork)
    tx = fork.rpc("eth_sendRawTransaction", raw)
    fork.mine()
    assert fork.rpc("eth_getTransactionReceipt", tx)["status"] == "0x1"
    with pytest.raises(Broken, match="invalid chain id"):
        node.rpc("eth_sendRawTransaction", raw)


def test_a_legacy_transaction_of_a_fork_is_pooled_by_its_origin_but_never_runs(node: Anvil) -> None:
    tx = node.rpc("eth_sendRawTransaction", signed(FORK_CHAIN_ID, node, legacy=True))
    node.mine()
    assert node.rpc("eth_getTransactionReceipt", tx) is None
    assert balance(node, BOB) == 0


def test_the_upstream_url_is_neither_in_the_arguments_nor_in_the_repr(fork: Anvil, node: Anvil) -> None:
    arguments = Path(f"/proc/{fork.pid}/cmdline").read_bytes().decode()
    assert str(node.port) not in arguments + repr(fork)


def test_a_lost_upstream_is_unavailable_and_not_named() -> None:
    with Anvil() as origin, Anvil(fork_url=origin.url, extra=("--retries", "0")) as fork:
        port = origin.port
        origin.stop()
        with pytest.raises(NodeUnavailable) as caught:
            balance(fork, ALICE)
    assert str(port) not in str(caught.value)


def test_an_upstream_that_is_not_there_is_unavailable_and_not_named() -> None:
    with pytest.raises(NodeUnavailable, match="<url>") as caught:
        Anvil(fork_url="http://127.0.0.1:1/secret", extra=("--retries", "0")).start()
    assert "secret" not in str(caught.value)


def test_a_failed_start_can_be_tried_again() -> None:
    node = Anvil(extra=("--nonsense",))
    with pytest.raises(KeeperError):
        node.start()
    node.extra = ()
    with node:
        assert node.head().number == 0
