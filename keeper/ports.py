"""Every seam. Live, dry run, backtest and tests differ only in what stands behind these.

The adapter seam was held against four protocols before it was fixed:

    method         options clearing house      Morpho Blue               Aave v3                Maker auctions
    interests      trades, feeds, auctions     market, position events;  pool, token, feed      vat, dog, clip events;
                                               reads: oracle, rate       events                 read: feed price
    absorb         one record per account,     shares and collateral,    scaled balances,       urns; a *sale* is a
                   auction, feed, smile, pool  market totals             indices                record of another kind
    columns        legs x value table          collateral, debt shares   collateral x debt      ink x spot against art
    health         E, Q by full revaluation    maxBorrow, borrowed       health factor          tab against ink x spot;
                                               accrued to the moment                            sale: running or redo
    opportunities  flag, bid, takeover, own    liquidate                 liquidate (close       bark, take (a Curve),
                   hedge and top-up                                      factor)                redo
    afford         initial margin of the       loan token at hand        debt token at hand     dai at hand
                   merged book
    calls          bid + hedge in one          liquidate                 liquidationCall        take with callee
    explain        custom errors               strings                   strings, errors        strings
    holdings       desk tokens, own account    token balances            token balances         token balances, dai
    describe       legs, tiers, breach         position, health          position, health       urn, sale
    realised       slice against price paid    seized against repaid     seized against repaid  lot against dai
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from keeper.model import (
    Address,
    BlockRef,
    Call,
    Capital,
    ChainEvent,
    Decision,
    Delta,
    Effect,
    Fact,
    Floor,
    Hash,
    HealthReport,
    Holding,
    Interests,
    Key,
    Log,
    LogFilter,
    Moment,
    Opportunity,
    Pending,
    Read,
    Reading,
    Realised,
    Reason,
    Receipt,
    Told,
    Turn,
    TxEvent,
    TxIntent,
)


class View(Protocol):
    """The book of one protocol at one block, read-only."""

    @property
    def ref(self) -> BlockRef: ...

    def get(self, key: Key) -> Any:
        """The record, or None."""

    def keys(self, kind: str) -> Iterator[Key]:
        """All keys of a kind, by ascending id."""


class Columns(Protocol):
    """The accounts as columns, for screening. Records of ``kinds`` are kept here and nowhere else."""

    @property
    def kinds(self) -> Collection[str]: ...

    def get(self, key: Key) -> Any:
        """The record of one of ``kinds`` as it was put, or None."""

    def keys(self, kind: str) -> Iterator[Key]:
        """All keys of one of ``kinds``, by ascending id."""

    def put(self, key: Key, record: Any) -> None:
        """Follow one change; ``record`` is None when the account is gone."""

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        """So many accounts; others each turn, and all of them in time."""

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        """Accounts that may be liquidatable at ``at``. May name too many, never too few."""

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        """The accounts nearest to liquidation with equity / requirement, the lowest first."""

    def refused(self, view: View, at: Moment) -> Mapping[Key, str]:
        """Accounts that no number can be given for at ``at``, and why. None of them is ever a suspect."""

    @property
    def refusals(self) -> Mapping[Key, str]:
        """``refused`` of the last look for suspects."""

    def warming(self) -> Callable[[], str] | None:
        """What is worth compiling before a block waits for it, to be called beside the loop; it says what it made."""


@runtime_checkable
class Bulk(Protocol):
    """Columns that take what a block says of many records at once: what was ``Told`` of each, or nothing if it raises.

    ``restore`` takes what ``put_all`` returned; undone in the opposite order, all records are exactly as they were.
    """

    def put_all(self, told: Mapping[Key, Any]) -> Any: ...
    def restore(self, undo: Any) -> None: ...


@runtime_checkable
class Timely(Protocol):
    """Columns that have ready what a look at ``at`` takes of time alone, if ``ahead`` was asked for it before."""

    def ahead(self, view: View, at: Moment) -> None: ...


@runtime_checkable
class Adapter(Protocol):
    """One protocol. Pure: no I/O, no clock, no state between calls but its immutable settings."""

    @property
    def name(self) -> str: ...

    @property
    def desk(self) -> Address | None:
        """The contract that makes the calls and receives what they bring; None: the signer itself."""

    def interests(self, view: View) -> Interests:
        """What to fetch, given what is known; asked again after every block, so reads may grow with the book."""

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Told | Fact]:
        """What one log, or the answer to one read, changes. Unknown logs change nothing.

        ``Told`` only where the columns are ``Bulk``.
        """

    def columns(self) -> Columns: ...

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """Exact health as the contract will compute it at ``at``."""

    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        """All that can be done at ``at``: to unhealthy accounts, in running auctions, to the own account."""

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        """The book as it would be after this call, were it mined at ``at``; None when it says nothing to us."""

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        """What is left of own capital (wad) after doing all of these; negative means too much."""

    def capital(self, view: View, at: Moment) -> Capital:
        """The same in a linear picture, for the search; never judges a set kinder than ``afford`` by much."""

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        """The calls, in order, that carry out a decision; they succeed together or not at all.

        There is no view here: what a call needs, such as a price limit for ``Bid.floor``, stands in the plan.
        """

    def floors(self, decision: Decision) -> tuple[Floor, ...]:
        """What the desk shall hold these calls to: at least what the decision asks for, by the contract's own word."""

    def explain(self, revert: bytes) -> Reason:
        """What a revert of one of these calls means."""

    def holdings(self, view: View) -> Mapping[str, Holding]:
        """What we own, by place: "desk USDC", "account cash". The ledger is made of its changes."""

    def describe(self, view: View, key: Key, at: Moment) -> Sequence[tuple[str, str]]:
        """One account for people: lines of (what, how much)."""

    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        """What an action really brought, from the facts of its own transaction."""


@runtime_checkable
class Audited(Protocol):
    """An adapter whose accounts can be read again from the chain, to see whether the book is right."""

    def reading(self, keys: Sequence[Key]) -> Reading: ...

    def reread(self, view: View, reading: Reading, answer: bytes) -> Iterable[Delta]:
        """Where the chain differs from the book at the same block: from what we have to what it says."""


@runtime_checkable
class Ahead(Protocol):
    """An adapter that can say what comes next, and value little of much quickly."""

    def expected(self, view: View, at: Moment) -> Iterable[Pending]:
        """Calls that nobody has seen yet, but that the rules of whoever makes them ask for by ``at``."""

    def against(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        """What can be done to these accounts because they are unhealthy, and nothing else of ``opportunities``."""


@runtime_checkable
class Stored(Audited, Protocol):
    """An adapter whose accounts can be read at a block, in place of following every change since the first.

    Until they are, ``outline`` is fetched, which is all but what changes accounts only, and absorbed without them. A
    log of the ``roster`` names an account. ``fill`` puts different accounts into columns, as the chain has them at the
    last block of the view; these are not the view's until all are in.
    """

    def columns(self) -> Columns: ...
    def outline(self, view: View) -> Interests: ...
    def roster(self) -> LogFilter: ...
    def named(self, log: Log) -> Key: ...
    def fill(self, view: View, columns: Columns, reading: Reading, answer: bytes) -> None: ...


class Strategy(Protocol):
    """A pure function of what it is shown."""

    @property
    def name(self) -> str: ...

    def decide(self, opportunity: Opportunity) -> Decision | None:
        """None: not this strategy's business."""


class Clock(Protocol):
    """Wall time, for the few parts that wait."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class ChainSource(Protocol):
    """Batches in: every canonical block from a start block on, in order, without gaps."""

    def events(self, start: int) -> AsyncIterator[ChainEvent]:
        """Ends only when the source is exhausted (a recording); a live source raises ChainLost."""


class Mempool(Protocol):
    """Calls of the contracts that the kernel awaits, before they are mined."""

    async def seen(self, head: BlockRef) -> Sequence[Pending]:
        """What has come since the last question; asked at every head."""

    async def heard(self) -> Sequence[Pending]:
        """The same between heads: returns as soon as there is something, and not before."""


class Simulation(Protocol):
    @property
    def ok(self) -> bool: ...

    @property
    def data(self) -> bytes:
        """Return or revert data."""

    @property
    def gas_used(self) -> int:
        """0 when the node does not say."""


class StateReader(Protocol):
    """Questions about state, pinned to a block."""

    async def call(
        self, call: Call, sender: Address, block: Hash | None, *, at: Moment | None = None, gas: int | None = None
    ) -> Simulation:
        """Run a call without sending it, on the state after ``block`` (None: pending), as if executed ``at``.

        With at most ``gas`` units; None: as many as the node allows.
        """

    async def receipt(self, tx_hash: Hash) -> Receipt | None: ...

    async def nonce(self, address: Address) -> int:
        """Number of mined transactions, at the latest block."""

    async def balance(self, address: Address) -> int: ...


@runtime_checkable
class Bundled(Protocol):
    """A reader that can run a call behind others in one block."""

    async def behind(
        self, before: Sequence[Pending], call: Call, sender: Address, block: Hash, at: Moment, gas: int | None
    ) -> Simulation:
        """On the state after ``block``, as if all were executed ``at``, in order; those ``before`` may fail."""


class Sent(Protocol):
    """What a node said to a send. A hint, never a fact."""

    @property
    def accepted(self) -> bool: ...

    @property
    def error(self) -> str:
        """Lower case, redacted; empty when accepted."""


class Executor(Protocol):
    """Signed bytes out. No implementation repeats a send by itself."""

    async def send(self, raw: bytes) -> Sent: ...


class Fence(Protocol):
    """The right to use a key. One host has it by the lock on its journal; several hosts hold it in turn, by terms.

    Asked before every signature and every send (``check``), and at every commit of signed bytes (``commit``), which
    comes before the commit to our own journal, and that before the send. So bytes of an old term are known to all
    that come after it, and compete for the same nonce.
    """

    @property
    def epoch(self) -> int:
        """Number of our term; a later term has a higher one. 0 where there is only one host."""

    def check(self) -> None:
        """Raises Fenced unless our term certainly still runs. No I/O: a clock and a margin."""

    async def commit(self, line: bytes) -> None:
        """Keep a line (``tx/rows.py``: ``line_of``) for those who come after us, durably, in one step with the check
        that our epoch is the highest. Raises Fenced when it is not, or when that cannot be known."""

    async def lines(self) -> Sequence[bytes]:
        """Every line that is kept, oldest first. Read when a term begins, before recovery, and now and then without."""

    async def forget(self, term: int | None, gone: Callable[[bytes], bool]) -> int:
        """Our journal has what we read. In our term, let go of what is ``gone`` and every host has: how many lines."""


class Transactions(Protocol):
    """The transaction manager, as the shell uses it."""

    async def recover(self) -> Sequence[TxEvent]:
        """Resolve what an earlier process left open. Runs before anything is submitted."""

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]: ...

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None:
        """Expected of the next block, in place of what was before: to be sent without delay if it is submitted then."""

    @property
    def ready(self) -> bool:
        """Whether something is prepared that could leave at once."""

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        """Send of these what is prepared: which. ``submit`` tells what became of each, or the next ``on_block``."""

    def notice(self, head: BlockRef) -> None:
        """This head is about to be read: what must be asked of the node meanwhile can be."""

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        """Receipts, confirmations, replacements and resends that this block brings."""


class Watcher(Protocol):
    """Sees everything that happens and influences nothing."""

    def effect(self, effect: Effect) -> None: ...

    def turn(self, turn: Turn) -> None: ...
