"""What we ask a node, and how far we believe the answers.

Implements ``ports.StateReader`` and ``ports.Executor``, and what the follower needs. Reads are pinned to a
block hash where that matters; a block that the node does not know is StaleRead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from keeper.chain import bloom, codec
from keeper.chain.codec import Header, malformed, octets, quantity, to_hex
from keeper.chain.pool import Pool
from keeper.chain.pushed import gathered, served
from keeper.chain.rpc import Handler, Request, Rpc, RpcError
from keeper.errors import KeeperError, NodeUnavailable, StaleRead
from keeper.model import Address, BlockRef, Call, Hash, Log, LogFilter, Moment, Pending, Read, Reading, Receipt

BATCH: Final = 100  # calls; larger batches gain nothing and some providers refuse them
KNOWN: Final = 64  # headers remembered: what a hash names does not change
RANGE_SECONDS: Final = 30.0  # a log range reads far more than other calls

# What nodes say, in lower case, when it is the call that failed and not the node.
FAILED: Final = (
    "revert",
    "evm error",
    "out of gas",
    "gas required exceeds",
    "invalid opcode",
    "invalid jump",
    "stack underflow",
    "stack limit",
    "insufficient funds",
    "vm execution error",
)


@dataclass(frozen=True, slots=True)
class Simulated:
    """Implements ``ports.Simulation``."""

    ok: bool
    data: bytes
    gas_used: int = 0  # eth_call does not say


@dataclass(frozen=True, slots=True)
class Answer:
    """Implements ``ports.Sent``. An error that starts with "transport: " says nothing about the transaction."""

    accepted: bool
    error: str = ""


class Contents(NamedTuple):
    logs: tuple[Log, ...]
    reads: dict[str, bytes]  # b"" when reverted


class BlockLogs(NamedTuple):
    number: int
    block: Hash
    logs: tuple[Log, ...]


class FeeHistory(NamedTuple):
    """Of consecutive blocks, oldest first; wei per gas."""

    base_fees: tuple[int, ...]  # one more than blocks: the last is the next block's
    rewards: tuple[tuple[int, ...], ...]  # per block, per percentile asked for


class Node:
    def __init__(self, rpc: Rpc | Pool, known: dict[Hash, Header] | None = None) -> None:
        """``known``: headers that were seen, by hash, the newest last; several nodes of one chain may share it."""
        self._rpc = rpc
        self._known: dict[Hash, Header] = {} if known is None else known

    def __repr__(self) -> str:
        return f"Node({self.endpoint})"

    # ── the connection ──

    @property
    def endpoint(self) -> str:
        """Safe to show."""
        return str(self._rpc.endpoint)

    @property
    def pushes(self) -> bool:
        return self._rpc.pushes

    @property
    def session(self) -> int:
        """Another number is another connection: without subscriptions yet, and perhaps to another chain."""
        return self._rpc.session

    async def reset(self) -> None:
        await self._rpc.reset()

    async def heads(self, handler: Callable[[Header | None], None]) -> None:
        """Push new heads until the connection ends. None: no header came with it, look for yourself."""

        def heard(payload: Any) -> None:
            try:
                handler(None if payload is None else codec.header(payload))
            except NodeUnavailable:  # some nodes push less than a whole header
                handler(None)

        await self._rpc.subscribe("newHeads", heard)

    async def logs_pushed(self, filters: Sequence[LogFilter], handler: Handler) -> list[str]:
        """Push new logs as they come, undecoded, until the connection ends: None. Their names."""
        return [await self._rpc.subscribe("logs", handler, query) for query in codec.queries(filters)]

    async def unsubscribe(self, names: Sequence[str]) -> None:
        for each in names:
            await self._rpc.unsubscribe(each)

    async def identity(self) -> tuple[int, Hash]:
        """Chain id and genesis hash, from one connection."""
        number, genesis = _settle(
            await self._rpc.batch([("eth_chainId", ()), ("eth_getBlockByNumber", ("0x0", False))])
        )
        return quantity(number, "eth_chainId"), octets(codec.record(genesis, "block").get("hash"), "block.hash", 32)

    async def chain_id(self) -> int:
        return (await self.identity())[0]

    async def genesis_hash(self) -> Hash:
        return (await self.identity())[1]

    # ── blocks ──

    async def block(self, at: int | str | Hash) -> BlockRef:
        """By number, tag or hash. StaleRead when there is none."""
        return (await self.header(at)).ref

    async def header(self, at: int | str | Hash) -> Header:
        if isinstance(at, bytes):
            return _known(await self._rpc.call("eth_getBlockByHash", to_hex(at), False), at)
        place = at if isinstance(at, str) else hex(at)
        return _known(await self._rpc.call("eth_getBlockByNumber", place, False), at)

    async def headers(self, hashes: Sequence[Hash]) -> list[Header]:
        found: list[Header] = []
        for at in range(0, len(hashes), BATCH):
            part = hashes[at : at + BATCH]
            answers = await self._rpc.batch([("eth_getBlockByHash", (to_hex(each), False)) for each in part])
            found += map(_known, _settle(answers), part)
        return found

    async def pending(self, targets: Collection[Address]) -> list[Pending]:
        """Calls of these contracts in the block that the node would make now, in its order."""
        block = await self._rpc.call("eth_getBlockByNumber", "pending", True)
        if block is None:
            return []
        sent = codec.record(block, "block").get("transactions")
        if not isinstance(sent, list):
            raise malformed("block.transactions")
        found = (codec.record(tx, "transaction") for tx in sent)
        return [one for one in map(codec.pending, found) if one is not None and one.target in targets]

    async def logs(self, filters: Sequence[LogFilter], block_hash: Hash) -> tuple[Log, ...]:
        return (await self.contents(await self.header(block_hash), filters, ())).logs

    async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
        """Logs and reads of one block in one round trip. StaleRead when logs and header contradict each other."""
        self._known[header.ref.hash] = header
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        pin = codec.at_hash(header.ref.hash)
        asked = codec.queries(filters)
        calls: list[Request] = [("eth_getLogs", ({**query, **pin},)) for query in asked]
        calls += [("eth_call", (codec.transaction(Call(read.target, read.data)), pin)) for read in reads]
        answers = await self._rpc.batch(calls)
        logs = gathered(header, _settle(answers[: len(asked)]))
        await self._check(header, filters, logs)
        results = zip(reads, map(_outcome, answers[len(asked) :]), strict=True)
        return Contents(logs, {read.name: result.data if result.ok else b"" for read, result in results})

    async def _check(self, header: Header, filters: Sequence[LogFilter], logs: tuple[Log, ...]) -> None:
        """Do the logs fit the header's bloom? Where it promises more than came, ask for every log of the block."""
        if bloom.of(logs) & ~header.bloom:
            raise StaleRead(f"{self.endpoint}: block {header.ref.number} has logs that its bloom denies")
        if all(served(header, wanted, logs) for wanted in filters):
            return
        everything = gathered(header, [await self._rpc.call("eth_getLogs", codec.at_hash(header.ref.hash))])
        missed = any(codec.matches(wanted, log) and log not in logs for wanted in filters for log in everything)
        if missed or header.bloom & ~bloom.of(everything):
            raise StaleRead(f"{self.endpoint}: block {header.ref.number} comes without some of its logs")

    async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]:
        """By block, ascending, blocks without any left out. A refused range is halved, down to one block.

        StaleRead unless the node has block ``last``: it would clip the range and not say so.
        """
        calls: list[Request] = [("eth_getBlockByNumber", (hex(last), False))]
        span = {"fromBlock": hex(first), "toBlock": hex(last)}
        calls += [("eth_getLogs", ({**query, **span},)) for query in codec.queries(filters)]
        end, *answers = await self._rpc.batch(calls, timeout=RANGE_SECONDS)
        if first < last and any(isinstance(answer, RpcError) for answer in answers):
            middle = (first + last) // 2
            return [
                *await self.logs_range(filters, first, middle),
                *await self.logs_range(filters, middle + 1, last),
            ]
        _known(_settle([end])[0], last)
        return _by_block(_settle(answers), first, last)

    # ── ports.StateReader ──

    async def call(
        self, call: Call, sender: Address, block: Hash | None, *, at: Moment | None = None, gas: int | None = None
    ) -> Simulated:
        """``at``: as if the block had this number, timestamp and base fee (block overrides of ``eth_call``)."""
        params: list[Any] = [codec.transaction(call, sender, gas), "pending" if block is None else codec.at_hash(block)]
        if at is not None:
            params += [{}, codec.overrides(at)]
        return _outcome(*await self._rpc.batch([("eth_call", params)]))

    async def behind(
        self, before: Sequence[Pending], call: Call, sender: Address, block: Hash, at: Moment, gas: int | None
    ) -> Simulated:
        """``eth_simulateV1``; on a node that has none, in the block that it would make now."""
        calls = [codec.transaction(Call(one.target, one.data), one.sender) for one in before]
        block_calls = {"blockOverrides": codec.overrides(at), "calls": [*calls, codec.transaction(call, sender, gas)]}
        question = {"blockStateCalls": [block_calls], "validation": False}
        try:
            answer = await self._rpc.call("eth_simulateV1", question, codec.at_hash(block))
        except RpcError:
            return await self.call(call, sender, None, gas=gas)
        return _last_of(answer)

    async def reread(self, reading: Reading, block: Hash) -> bytes:
        """The answer to a call to code that need not be deployed (state override of ``eth_call``)."""
        override = {to_hex(reading.call.target): {"code": to_hex(reading.code)}} if reading.code else {}
        answer = await self._rpc.call("eth_call", codec.transaction(reading.call), codec.at_hash(block), override)
        return octets(answer, "eth_call")

    async def receipt(self, tx_hash: Hash) -> Receipt | None:
        """None while pending or unknown. Whether its block is canonical is for the caller to judge."""
        return (await self.receipts([tx_hash]))[0]

    async def receipts(self, hashes: Sequence[Hash]) -> list[Receipt | None]:
        """The same of many, in their order. Raises Retry when one of them cannot be known."""
        found = list[dict[str, Any] | None]()
        for at in range(0, len(hashes), BATCH):
            asked = hashes[at : at + BATCH]
            answers = await self._rpc.batch([("eth_getTransactionReceipt", (to_hex(one),)) for one in asked])
            found += map(_mined, _settle(answers), asked)
        wanted = list(dict.fromkeys(octets(one["blockHash"], "receipt.blockHash", 32) for one in found if one))
        strange = [block for block in wanted if block not in self._known]
        blocks = {block: self._known[block] for block in wanted if block in self._known}
        blocks |= zip(strange, await self.headers(strange) if strange else (), strict=True)
        return [None if one is None else _receipt(one, blocks) for one in found]

    async def nonce(self, address: Address) -> int:
        return await self._quantity("eth_getTransactionCount", to_hex(address), "latest")

    async def balance(self, address: Address) -> int:
        return await self._quantity("eth_getBalance", to_hex(address), "latest")

    async def code(self, address: Address) -> bytes:
        return octets(await self._rpc.call("eth_getCode", to_hex(address), "latest"), "eth_getCode")

    async def codes(self, addresses: Sequence[Address]) -> list[bytes]:
        """Of many at once, in their order; one by one, because each may be long."""
        return [await self.code(address) for address in addresses]

    async def words(self, places: Sequence[tuple[Address, bytes]]) -> list[bytes]:
        """What stands in these slots of these contracts, 32 bytes each."""
        found = list[Any]()
        for at in range(0, len(places), BATCH):
            asked = [(to_hex(address), to_hex(slot), "latest") for address, slot in places[at : at + BATCH]]
            found += _settle(await self._rpc.batch([("eth_getStorageAt", one) for one in asked]))
        return [octets(word, "eth_getStorageAt") for word in found]

    async def fee_history(self, blocks: int, percentiles: Sequence[float], newest: int | None = None) -> FeeHistory:
        """Of the blocks up to ``newest`` (None: latest), with the priority fees at these percentiles of gas used."""
        last = "latest" if newest is None else hex(newest)
        raw = codec.record(await self._rpc.call("eth_feeHistory", hex(blocks), last, list(percentiles)), "fees")
        rewards = codec.array(raw.get("reward") if percentiles else [], "fees.reward")
        return FeeHistory(
            base_fees=_quantities(raw.get("baseFeePerGas"), "fees.baseFeePerGas"),
            rewards=tuple(_quantities(reward, "fees.reward") for reward in rewards),
        )

    async def _quantity(self, method: str, *params: Any) -> int:
        return quantity(await self._rpc.call(method, *params), method)

    # ── ports.Executor ──

    async def send(self, raw: bytes) -> Answer:
        """Once, and never raising: what the node says is a hint, what the transport says is not even that."""
        from eth_hash.auto import keccak

        try:
            answer = await self._rpc.call("eth_sendRawTransaction", to_hex(raw))
        except RpcError as error:
            return Answer(False, error.message.lower())
        except KeeperError as error:
            return Answer(False, f"transport: {error}".lower())
        if answer != to_hex(keccak(raw)):
            return Answer(False, "transport: the node answers with another hash")
        return Answer(True)


def _settle(answers: list[Any]) -> list[Any]:
    """The answers, or the first error among them raised."""
    for answer in answers:
        if isinstance(answer, KeeperError):
            raise answer
    return answers


def _known(answer: Any, at: int | str | Hash) -> Header:
    """The header that was asked for, and no other."""
    shown = to_hex(at) if isinstance(at, bytes) else at
    if answer is None:
        raise StaleRead(f"the node has no block {shown}")
    header = codec.header(answer)
    if not isinstance(at, str) and at not in (header.ref.hash, header.ref.number):
        raise NodeUnavailable(f"the node answers with another block than {shown}")
    return header


def _mined(answer: Any, tx_hash: Hash) -> dict[str, Any] | None:
    """A receipt as it came, if it is one of a block, and of this transaction."""
    if answer is None or codec.record(answer, "receipt").get("blockHash") is None:
        return None
    if octets(answer.get("transactionHash"), "receipt.transactionHash", 32) != tx_hash:
        raise malformed("receipt.transactionHash")
    found: dict[str, Any] = answer
    return found


def _receipt(raw: dict[str, Any], blocks: Mapping[Hash, Header]) -> Receipt:
    return Receipt(
        tx_hash=octets(raw["transactionHash"], "receipt.transactionHash", 32),
        block=blocks[octets(raw["blockHash"], "receipt.blockHash", 32)].ref,
        ok=quantity(raw.get("status"), "receipt.status") == 1,
        gas_used=quantity(raw.get("gasUsed"), "receipt.gasUsed", codec.COUNT_LIMIT),
        gas_price=quantity(raw.get("effectiveGasPrice"), "receipt.effectiveGasPrice", codec.PRICE_LIMIT),
    )


def _outcome(answer: Any) -> Simulated:
    if isinstance(answer, RpcError) and (answer.number == 3 or any(word in answer.message.lower() for word in FAILED)):
        return Simulated(False, answer.data)
    return Simulated(True, octets(_settle([answer])[0], "eth_call"))


def _last_of(answer: Any) -> Simulated:
    """The last call of the last block."""
    blocks = codec.array(answer, "simulation")
    calls = codec.array(codec.record(blocks[-1], "simulation").get("calls"), "simulation.calls") if blocks else []
    if not calls:
        raise malformed("simulation.calls")
    last = codec.record(calls[-1], "simulation.call")
    ok = quantity(last.get("status"), "simulation.status") == 1
    error = last.get("error") or {}
    said = last.get("returnData") or "0x"
    if not ok and said == "0x" and isinstance(error, dict):
        said = error.get("data") or "0x"
    gas = quantity(last.get("gasUsed", "0x0"), "simulation.gasUsed")
    return Simulated(ok, octets(said, "simulation.returnData"), gas)


def _by_block(answers: Iterable[Any], first: int, last: int) -> list[BlockLogs]:
    found: dict[tuple[int, Hash], dict[int, Log]] = {}
    for answer in answers:
        for number, block, log in map(codec.placed_log, codec.array(answer, "logs")):
            found.setdefault((number, block), {})[log.index] = log
    if found and not first <= min(found)[0] <= max(found)[0] <= last:
        raise malformed("log.blockNumber")
    if len({number for number, _ in found}) < len(found):
        raise StaleRead("the chain was reorganised within the range")
    return [BlockLogs(*at, tuple(found[at][index] for index in sorted(found[at]))) for at in sorted(found)]


def _quantities(values: Any, name: str) -> tuple[int, ...]:
    return tuple(quantity(value, name) for value in codec.array(values, name))
