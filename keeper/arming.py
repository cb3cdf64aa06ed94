"""From settings to what may sign: keys, their guards, one budget, journals, the switch, a relay. For bootstrap.

live       a journal and a switch that outlive the process; every limit by the chain's clock and the machine's
others     a journal that ends with the process, no switch; limits by the chain's clock alone, so that a replay
           of an hour in a second meets the limits that the hour met
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eth_utils.crypto import keccak

from keeper.core.planner import Limits as Planning
from keeper.errors import Misconfigured, SecretUnusable
from keeper.model import Address, Hash, Route
from keeper.observe import redact
from keeper.ports import Transactions
from keeper.process.lease import Lease
from keeper.process.upgrades import Codes, Upgrades, Words
from keeper.protocols.desk import Worth, terms, through
from keeper.settings import Chain, Settings, Signer
from keeper.settings.checks import LOCAL_CHAINS
from keeper.tx import keys
from keeper.tx.budget import Budget
from keeper.tx.fees import Policy
from keeper.tx.guard import Allowed, Guard
from keeper.tx.journal import Binding, Journal
from keeper.tx.lane import Node, Rewards
from keeper.tx.lanes import Lanes
from keeper.tx.manager import Manager
from keeper.tx.relay import Relay
from keeper.tx.remote import RemoteSigner, mutual_tls
from keeper.tx.sequencer import Sequenced
from keeper.tx.settings import Limits
from keeper.tx.settings import Settings as Tuned
from keeper.tx.signer import LocalSigner, curve_of, local_signer
from keeper.tx.switch import Level, Switch

SWITCH = "switch"  # in the state folder


def planning(settings: Settings) -> Planning:
    """What the kernel plans within."""
    risk = settings.risk
    return Planning(risk.max_inflight, risk.max_fee_per_tx, risk.min_profit)


def tuned(settings: Settings, chain: Chain) -> Tuned:
    """The transaction manager's settings."""
    risk, tx = settings.risk, settings.tx
    cap, depth = risk.max_gas_price, chain.confirmations
    limits = Limits(
        tx_value=risk.max_value_per_tx,
        tx_cost=risk.max_fee_per_tx,
        hour_cost=risk.max_fee_per_hour,
        day_cost=risk.max_fee_per_day,
        min_profit=risk.min_profit,
        signatures=risk.max_signatures,
        deadline=risk.max_deadline // 1000,
        reverts=risk.max_reverts,
        lost=risk.max_lost,
        retries=risk.retries,
        quarantine=risk.quarantine // 1000,
    )
    return Tuned(
        fees=Policy(cap, min(tx.tip_floor, cap), min(tx.tip_cap, cap), tx.tip_percentile),
        confirmations=depth,
        finality=max(tx.finality, depth),
        bump_after=tx.bump_after,
        max_in_flight=risk.max_inflight,
        urgent_slots=min(tx.urgent_slots, risk.max_inflight - 1),
        route=Route(tx.route),
        private_blocks=tx.private_blocks,
        ahead=tx.ahead,
        gas_reserve=risk.gas_reserve,
        max_balance=risk.max_balance,
        keep=tx.keep // 1000,
        adopt=tx.adopt or chain.id in LOCAL_CHAINS,
        limits=limits,
        fingerprint=settings.fingerprint(),
    )


class Arming:
    """The keys of one keeper on one chain. ``live``: what they do outlives the process."""

    def __init__(self, settings: Settings, name: str, chain: Chain, live: bool) -> None:
        self._settings, self._name, self._live = settings, name, live
        self._chain, self._journals = chain, list[Journal]()
        self.tuned = tuned(settings, chain)
        if not live:
            self.tuned = replace(self.tuned, adopt=True, limits=replace(self.tuned.limits, signatures=None))
        wall = time.time if live else None
        self.budget = Budget(self.tuned.limits, self.tuned.fees.noop_ceiling, wall)
        self.switch = Switch(settings.keeper.state / SWITCH) if live else Switch()
        self.signers: list[LocalSigner | RemoteSigner] = []
        self.secret = b""  # of the first key here: what sealed bids are salted with; a remote key makes none
        self.leases: list[Lease] = []  # one for each key, where several hosts share them

    @property
    def addresses(self) -> list[Address]:
        return [signer.address for signer in self.signers]

    def unlock(self, chain_id: int, desk: Address | None, worths: Sequence[Worth] = ()) -> None:
        """Read the keys. Raises SecretUnusable or Misconfigured."""
        if not self._settings.signers:
            raise Misconfigured("no signer is configured", help="add a [signers.<name>] table")
        # All that a hot key may do is ``run`` of the desk, on terms; without a desk, whatever the adapter wants.
        allowed: Allowed | None = (
            None if desk is None else {(desk, through(desk)((), 0, ()).data[:4]): partial(terms, worths=worths)}
        )
        for signer in self._settings.signers.values():
            self.signers.append(self._signer(signer, chain_id, allowed))
        if len(set(self.addresses)) < len(self.signers):
            raise Misconfigured("two signers have the same key", help="give each its own, or leave one out")

    def _signer(self, signer: Signer, chain_id: int, allowed: Allowed | None) -> LocalSigner | RemoteSigner:
        if signer.remote is None or signer.address is None:
            key = key_of(signer, chain_id)
            self.secret = self.secret or bytes(keccak(b"keeper sealed bids" + key.reveal()))
            return local_signer(key, chain_id, allowed, self.budget)
        address, tls = bytes.fromhex(signer.address[2:]), None
        if signer.certificate is not None and signer.certificate_key is not None:
            tls = mutual_tls(signer.certificate, signer.certificate_key, signer.authority)
        guard = Guard(chain_id, address, allowed, self.budget)
        return RemoteSigner(signer.remote.reveal(), address, chain_id, guard, tls)

    def refuse_owner(self, owner: Address) -> None:
        """Misconfigured when a hot key owns the desk: whoever steals it would have everything."""
        if owner in self.addresses:
            raise Misconfigured(
                f"the signer 0x{owner.hex()} owns the desk", help="let a cold key own it, and appoint this one"
            )

    def transactions(self, node: Node, genesis: Hash, rewards: Rewards, stack: AsyncExitStack) -> Transactions:
        """Of all keys; on a rollup behind a look at its sequencer."""
        lanes, feed = self._lanes(node, genesis, rewards, stack), self._chain.sequencer
        if feed is None:
            return lanes
        return Sequenced(lanes, node, bytes.fromhex(feed[2:]), self._chain.sequencer_grace // 1000)

    def upgrades(self, codes: Codes, words: Words, wanted: Callable[[], Iterable[Address]]) -> Upgrades:
        """What looks after the code of contracts; the first journal remembers it."""
        journal = self._journals[0]
        return Upgrades(wanted, codes, words, journal.recall, journal.remember, self._pause)

    def _pause(self, why: str) -> None:
        if self.switch.movable and self.switch.level < Level.PAUSE:
            self.switch.set(Level.PAUSE, why)

    def _lanes(self, node: Node, genesis: Hash, rewards: Rewards, stack: AsyncExitStack) -> Lanes | Manager:
        """A manager for each key; one key needs no lanes."""
        relay = self._relay(stack)
        guards: Any = {"switch": self.switch, "budget": self.budget, "relay": relay}
        managers = []
        for signer in self.signers:
            journal = self._journal(signer, genesis, stack)
            fence = self._fence(journal)
            managers.append(Manager(node, journal, signer, self.tuned, rewards, fence=fence, **guards))
        return managers[0] if len(managers) == 1 else Lanes(managers)

    def _fence(self, journal: Journal) -> Lease | None:
        """The lease of a key that several hosts share; None: one host has it, by the lock on its journal."""
        wanted, of = self._settings.ha, journal.binding
        if not self._live or wanted is None:
            return None
        store = wanted.store.reveal("address of the lease store")
        redact.register_url(store)
        [(floor,)] = journal.ask("SELECT coalesce(max(epoch), 0) FROM term")
        subject = f"{of.chain_id}:{of.genesis.hex()}:{of.address.hex()}"
        host = f"{self._settings.keeper.name}@{socket.gethostname()}"
        holder, file = f"{host}:{os.getpid()}", f"{host}:{journal.path.resolve()}"
        self.leases.append(Lease(store, subject, holder, wanted.lease / 1000, floor=floor, journal=file))
        return self.leases[-1]

    def _journal(self, signer: LocalSigner | RemoteSigner, genesis: Hash, stack: AsyncExitStack) -> Journal:
        mode = "live" if self._live else "replay"
        journal = Journal(self._file(signer, stack), Binding(signer.chain_id, genesis, signer.address, mode))
        stack.callback(journal.close)
        self._journals.append(journal)
        if isinstance(signer, RemoteSigner):
            stack.push_async_callback(signer.close)
        return journal

    def _file(self, signer: LocalSigner | RemoteSigner, stack: AsyncExitStack) -> Path:
        """A live journal outlives the process; that of a fork or a backtest ends with it."""
        if self._live:
            folder = self._settings.keeper.state
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="keeper-")))
        key = "" if len(self.signers) == 1 else f".{signer.address.hex()[:8]}"
        return folder / f"{self._name}{key}.live.db"

    def _relay(self, stack: AsyncExitStack) -> Relay | None:
        """The relay of a live keeper; elsewhere there is none to send to."""
        wanted = self._settings.relay
        if not self._live or wanted is None:
            if self._live and self.tuned.route is not Route.PUBLIC:
                raise Misconfigured(f'tx.route = "{self.tuned.route}" needs a [relay]', help="add one, or use public")
            return None
        address, curve = curve_of(_hidden(keys.from_hex(wanted.key.reveal("relay key"))))
        if address in self.addresses:
            raise Misconfigured("[relay] key holds money", help="give the relay a key of its own: it is only a name")
        status = wanted.status.reveal() if wanted.status and wanted.method != "eth_sendBundle" else None
        relay = Relay(wanted.url.reveal(), address, curve, wanted.method, wanted.timeout / 1000, status)
        stack.push_async_callback(relay.close)
        return relay


def key_of(signer: Signer, chain_id: int) -> keys.Key:
    """The key of one signer. Raises SecretUnusable."""
    if signer.keystore is not None and signer.password is not None:
        return _hidden(keys.keystore(signer.keystore, signer.password.reveal))
    if signer.key is None or chain_id not in LOCAL_CHAINS:
        raise SecretUnusable(
            f"a raw key is refused on chain {chain_id}", help="import it into a keystore; raw keys are for local chains"
        )
    return _hidden(keys.from_hex(signer.key.reveal()))


def _hidden(key: keys.Key) -> keys.Key:
    """No log will show it."""
    redact.register(key.reveal())
    return key
