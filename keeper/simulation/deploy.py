"""Put the clearing house, its tokens, pools and a keeper's desk on a node that lets us send from any address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from eth_utils.crypto import keccak

from keeper.errors import Broken, KeeperError, Reverted
from keeper.model import Address
from keeper.protocols.abi import Contract, load
from keeper.protocols.options.oracle import LOCAL, Config
from keeper.protocols.options.params import ParamSet
from keeper.simulation.node import Anvil

GAS: Final = 16_000_000  # below the cap per transaction
CASH: Final = ("US dollars", "USDC", 6)
BASES: Final = (("Wrapped ether", "WETH", 18), ("Wrapped bitcoin", "WBTC", 8))
USUAL: Final = (1_500_000, 1_200_000)  # ppm, volatility of each underlying that the scenarios are made for


def options() -> dict[str, Contract]:
    """The compiled contracts of the options protocol."""
    return dict(load("keeper.protocols.options"))


@dataclass(frozen=True)
class Deployment:
    """Where everything is. ``tokens`` by asset id, ``pools`` by underlying."""

    block: int  # the first block that can hold an event
    oracle: Address
    params: Address
    risk: Address
    clearing: Address
    liquidator: Address
    waterfall: Address
    sealed: Address
    quotes: Address
    tokens: tuple[Address, ...]
    pools: tuple[Address, ...]


class Driver:
    """Sends from any address, in blocks as large as needed; raises Broken when a transaction fails."""

    def __init__(self, node: Anvil) -> None:
        self.node = node
        self._gas_limit = node.head().gas_limit
        node.rpc("anvil_autoImpersonateAccount", True)
        node.rpc("evm_setBlockGasLimit", hex(10**10))
        self.nonces: dict[Address, int] = {}

    def send_all(self, txs: Sequence[tuple[Address, Address | None, bytes]], timestamp: int | None = None) -> list[Any]:
        """``(from, to, data)`` each, mined together in order; their receipts."""
        calls = [("eth_sendTransaction", self._request(tx) | {"nonce": hex(self._nonce(tx[0]))}) for tx in txs]
        hashes = self.node.batch(calls)
        if timestamp is None:  # not the node's clock: it runs on with wall time, and no two builds would be the same
            timestamp = self.node.head().timestamp
        receipts: list[Any] = []
        while len(receipts) < len(hashes):  # a block may not hold all of them
            self.node.mine(timestamp)
            timestamp += 1
            got = self.node.batch([("eth_getTransactionReceipt", h) for h in hashes[len(receipts) :]])
            done = [r for r in got if r is not None]
            if not done:
                raise Broken("a transaction of the set-up was not mined")
            receipts += done
        for tx, receipt in zip(txs, receipts, strict=True):
            if receipt["status"] != "0x1":
                raise Broken(f"a transaction of the set-up failed: {self._why(tx)}")
        return receipts

    def _nonce(self, sender: Address) -> int:
        if sender not in self.nonces:
            self.nonces[sender] = int(self.node.rpc("eth_getTransactionCount", sender, "latest"), 16)
            self.node.set_balance(sender, 10**24)
        self.nonces[sender] += 1
        return self.nonces[sender] - 1

    def _request(self, tx: tuple[Address, Address | None, bytes]) -> dict[str, Any]:
        sender, to, data = tx
        return {"from": sender, "data": data, "gas": hex(GAS)} | ({"to": to} if to else {})

    def _why(self, tx: tuple[Address, Address | None, bytes]) -> str:
        try:
            self.node.rpc("eth_call", self._request(tx), "latest")
        except KeeperError as error:
            return f"{error} {error.data.hex() if isinstance(error, Reverted) else ''}"
        return "it succeeds now"

    def send(self, sender: Address, to: Address, data: bytes) -> Any:
        return self.send_all([(sender, to, data)])[0]

    def deploy(self, sender: Address, contract: Contract, *args: Any) -> Address:
        receipt = self.send_all([(sender, None, contract.creation(*args))])[0]
        return bytes.fromhex(receipt["contractAddress"][2:])

    def done(self) -> None:
        """From here on a sender must sign, and blocks are as large as they were."""
        self.node.rpc("anvil_autoImpersonateAccount", False)
        self.node.rpc("evm_setBlockGasLimit", hex(self._gas_limit))


def actor(name: str, seed: int = 0) -> tuple[bytes, Address]:
    """(private key, address) of a participant of a local world; the same for the same name and seed."""
    from eth_keys.datatypes import PrivateKey

    key = bytes(keccak(text=f"keeper local world {seed}: {name}"))
    return key, PrivateKey(key).public_key.to_canonical_address()


def deploy(
    driver: Driver, governor: Address, publisher: Address, sets: ParamSet, config: Config = LOCAL, delay: int = 0
) -> Deployment:
    """Tokens, oracle, parameters, clearing house, liquidator and one empty pool per underlying."""
    c = options()
    block = driver.node.head().number + 1
    tokens = [driver.deploy(governor, c["Token"], *token) for token in (CASH, *BASES)]
    oracle = driver.deploy(governor, c["Oracle"], (publisher, governor, governor, *astuple(config)))
    for u, usual in enumerate(USUAL[: len(sets.risk.depths)]):
        driver.send(governor, oracle, c["Oracle"].call("register", u, usual))
    params = driver.deploy(governor, c["Params"], governor, governor, delay)
    risk = driver.deploy(governor, c["Risk"], oracle, params)
    clearing = driver.deploy(governor, c["Clearing"], oracle, params, risk, tokens[0])
    liquidator = driver.deploy(governor, c["Liquidator"], clearing)
    pools = [driver.deploy(governor, c["SpotPool"], token, tokens[0]) for token in tokens[1:]]
    waterfall = driver.deploy(governor, c["Waterfall"], liquidator)
    sealed = driver.deploy(governor, c["Sealed"], liquidator)
    quotes = driver.deploy(governor, c["Quotes"], liquidator)
    driver.send(governor, oracle, c["Oracle"].call("addTripper", clearing))
    driver.send(governor, clearing, c["Clearing"].call("setEngines", [liquidator, waterfall, sealed, quotes]))
    driver.send(governor, liquidator, c["Liquidator"].call("setModules", waterfall, sealed, quotes))
    for token in tokens[1:]:
        driver.send(governor, clearing, c["Clearing"].call("list", token))
    driver.send(governor, params, c["Params"].call("propose", sets.as_abi()))
    driver.send(governor, params, c["Params"].call("accept", 1))
    return Deployment(
        block, oracle, params, risk, clearing, liquidator, waterfall, sealed, quotes, tuple(tokens), tuple(pools)
    )
