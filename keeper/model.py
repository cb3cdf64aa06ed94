"""Every noun that flows through the keeper, on one page.

    node ─► BlockBatch ─► Delta ─► HealthReport ─► Opportunity ─► Decision ─► TxIntent ─► TxEvent ─► Outcome
            follower      adapter   health          scanner        strategy    planner     tx        ledger

All are frozen. Addresses and hashes are ``bytes`` (20 and 32); hex exists only at the borders.
Amounts are exact integers; the unit stands in the type, the name or the comment. US dollars are
wad (10**18). Times are chain seconds: no wall clock appears on this page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

Address = bytes  # 20 bytes
Hash = bytes  # 32 bytes


# ─── chain ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class BlockRef:
    number: int
    hash: Hash
    parent: Hash
    timestamp: int  # chain seconds
    base_fee: int  # wei per gas, of this block
    gas_used: int
    gas_limit: int

    @property
    def next_base_fee(self) -> int:
        """Base fee of the next block, wei per gas (EIP-1559: an eighth per block, target half of the limit)."""
        target = max(1, self.gas_limit // 2)
        change = self.base_fee * abs(self.gas_used - target) // target // 8
        return self.base_fee + max(change, 1) if self.gas_used > target else self.base_fee - change


@dataclass(frozen=True, slots=True)
class Moment:
    """When a transaction is expected to execute: everything is valued here, not at the block just seen."""

    number: int
    timestamp: int  # chain seconds
    base_fee: int  # wei per gas


@dataclass(frozen=True, slots=True)
class Log:
    address: Address
    topics: tuple[Hash, ...]
    data: bytes
    tx_hash: Hash
    index: int  # position in the block


@dataclass(frozen=True, slots=True)
class Receipt:
    tx_hash: Hash
    block: BlockRef
    ok: bool
    gas_used: int
    gas_price: int  # wei per gas, effective

    @property
    def fee(self) -> int:
        """Wei paid to the chain."""
        return self.gas_used * self.gas_price


@dataclass(frozen=True, slots=True)
class BlockBatch:
    """One canonical block: all logs and reads that the adapters asked for, pinned to its hash.

    While catching up, blocks without any log of interest are left out: ``first`` is then the number of the
    first block that this batch stands for. At the head it equals ``ref.number``.
    """

    ref: BlockRef
    logs: tuple[Log, ...] = ()
    reads: Mapping[str, bytes] = field(default_factory=dict)  # Read.name -> return data, b"" when it reverted
    first: int | None = None  # None: ref.number
    head: bool = True  # False while newer blocks are known: absorb it, do not act on it


@dataclass(frozen=True, slots=True)
class Rollback:
    """Blocks above ``to`` are no longer canonical."""

    to: BlockRef


@dataclass(frozen=True, slots=True)
class Gap:
    """Blocks ``first`` to ``last`` (inclusive) were not delivered; their batches follow."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A call seen before it is mined, such as an oracle update."""

    target: Address
    data: bytes
    sender: Address = field(default=bytes(20), compare=False)  # from another it is the same call


@dataclass(frozen=True, slots=True)
class Early:
    """A glance at a head: what the node has pushed of it. Its batch comes next, and may hold more."""

    batch: BlockBatch


ChainEvent = BlockBatch | Rollback | Gap | Pending | Early


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Logs of one contract; ``topics`` as in ``eth_getLogs``, None matches anything."""

    address: Address
    topics: tuple[Hash | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A view call made at every block, for state that emits no event. Names begin with the adapter's."""

    name: str
    target: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class Interests:
    """What an adapter needs from the chain. ``since`` is the first block that can matter."""

    logs: tuple[LogFilter, ...]
    reads: tuple[Read, ...] = ()
    since: int = 0
    pending: tuple[Address, ...] = ()  # contracts whose calls are worth knowing before they are mined


# ─── book ─────────────────────────────────────────────────────────────────────────────────────────


class Key(NamedTuple):
    """Names one record of one protocol: an account, an auction, a feed, a parameter set, a pool."""

    kind: str
    id: int


@dataclass(frozen=True, slots=True)
class Delta:
    """One record before and after. None is "did not exist"; swapping the two undoes it."""

    key: Key
    before: Any
    after: Any


class Told(NamedTuple):
    """What the chain says of a record that lies in columns, in whatever form ``Bulk.put_all`` understands.

    Of one record only the last word in a block counts; what it was before, the columns keep.
    """

    key: Key
    said: Any


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened on chain and is remembered but not state: a flag, a fill, a payment."""

    name: str
    key: Key
    who: Address
    tx_hash: Hash
    amounts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """Accounts to be read again from the chain, many to a call."""

    protocol: str
    keys: tuple[Key, ...]
    call: Call
    code: bytes  # what stands at ``call.target`` for this call; b"" where that is deployed


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Exact, for one account at one moment, in the protocol's money of account (options: US dollars, wad).

    Lending: equity is borrowing power and requirement is debt, in units of the loan token.
    """

    key: Key
    at: Moment
    equity: int
    requirement: int  # never negative
    scenario: int = 0  # the worst one, in the protocol's own encoding

    @property
    def margin(self) -> int:
        return self.equity - self.requirement

    @property
    def healthy(self) -> bool:
        return self.equity >= self.requirement


# ─── what could be done ───────────────────────────────────────────────────────────────────────────


class Kind(StrEnum):
    FLAG = "flag"  # start an auction
    BID = "bid"  # buy from a running auction
    TAKEOVER = "takeover"  # backstop: whole account at a fixed discount
    LIQUIDATE = "liquidate"  # repay and seize at once
    COMMIT = "commit"  # sealed bid: the hash and a bond
    REVEAL = "reveal"  # sealed bid: open it
    AWARD = "award"  # sealed bids: have ours filled
    QUOTE = "quote"  # sell an account in auction the option that restores it
    IMPROVE = "improve"  # prove a worse scenario of a running auction
    CURE = "cure"  # end the auction of an account that is healthy again
    RESTART = "restart"  # begin an auction again that came to its end unsold
    CLOSE_OUT = "close_out"  # close what nobody bought against its counterparties
    DELEVERAGE = "deleverage"  # serve the queue of an insolvent account
    SOCIALISE = "socialise"  # have the rest of a loss shared
    SETTLE = "settle"  # pay out what has expired
    HEDGE = "hedge"  # bring own delta back into its band
    TOP_UP = "top_up"  # bring own margin back above its floor


class Reason(StrEnum):
    """Why nothing was done, or why what was done failed. Closed: each value is a metric label."""

    NOT_UNDERWATER = "not_underwater"
    DUST = "dust"
    MARKET_PAUSED = "market_paused"
    MARKET_RETIRED = "market_retired"
    CLOSE_FACTOR_ZERO = "close_factor_zero"
    GRACE_PERIOD = "grace_period"
    AUCTION_NOT_STARTED = "auction_not_started"
    AUCTION_PRICE_HIGH = "auction_price_high"
    ORACLE_STALE = "oracle_stale"
    ORACLE_PENDING = "oracle_pending"
    ORACLE_DEVIATION = "oracle_deviation"
    PRICE_UNKNOWN = "price_unknown"
    NO_ROUTE = "no_route"
    SLIPPAGE_ABOVE_CAP = "slippage_above_cap"
    FLASH_UNAVAILABLE = "flash_unavailable"
    INVENTORY_SHORT = "inventory_short"
    BELOW_MIN_PROFIT = "below_min_profit"
    GAS_ABOVE_CAP = "gas_above_cap"
    BID_ABOVE_CAP = "bid_above_cap"
    COOLDOWN = "cooldown"
    TOKEN_DENIED = "token_denied"  # noqa: S105
    ACCOUNT_IGNORED = "account_ignored"
    SIM_REVERTED = "sim_reverted"
    SIM_PROFIT_CHANGED = "sim_profit_changed"
    RISK_TX_LIMIT = "risk_tx_limit"
    RISK_DAY_LIMIT = "risk_day_limit"
    LOSS_LIMIT = "loss_limit"
    INFLIGHT_DUPLICATE = "inflight_duplicate"
    NONCE_GAP = "nonce_gap"
    RPC_DEGRADED = "rpc_degraded"
    HEAD_STALE = "head_stale"
    PAUSED = "paused"
    NOT_ARMED = "not_armed"
    OWN_IMPACT = "own_impact"
    CAPITAL_RESERVED = "capital_reserved"
    NO_EDGE = "no_edge"
    SET_NOT_CHOSEN = "set_not_chosen"
    # acted, and lost
    OUTBID = "outbid"
    LOST_RACE = "lost_race"
    NOT_INCLUDED = "not_included"
    REVERTED_STATE_CHANGED = "reverted_state_changed"
    REVERTED_OTHER = "reverted_other"
    REORGED = "reorged"
    REPLACED = "replaced"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Costs:
    """What an action is expected to cost, in US dollars (wad). Every line is shown by ``explain``."""

    gas: int = 0  # at the predicted base fee
    slippage: int = 0  # selling what was seized, into the pool; or what the protocol charges for doing so
    hedge: int = 0  # bringing the bought delta to zero, into the pool
    crowd: int = 0  # more of that, because others who must sell the same are likely to be there before us
    carry: int = 0  # quoted spread and margin of holding what was bought
    failure: int = 0  # of reverting, in place of all others: the gas that this burns

    @property
    def total(self) -> int:
        """Of succeeding."""
        return self.gas + self.slippage + self.hedge + self.crowd + self.carry


@dataclass(frozen=True, slots=True)
class Needs:
    """What an action takes from resources that all actions share."""

    cash: int = 0  # wad, money of account
    margin: int = 0  # wad of own initial margin; negative when the action frees some
    gas: int = 0  # units
    tokens: tuple[int, ...] = ()  # smallest units, as ``Capital.tokens``; () none
    losses: tuple[tuple[int, ...], ...] = ()  # wad, never negative, as ``Capital.losses``; () none


@dataclass(frozen=True, slots=True)
class Capital:
    """What the actions of one protocol share, in a linear picture; ``Adapter.afford`` has the last word.

    A set fits while its tokens do, and while the sum over underlyings of the worst scenario, own losses and those of
    the set together and at least 0, is at most ``margin``. A requirement without scenarios is a row of equal ones.
    """

    tokens: tuple[int, ...] = ()  # smallest units at hand
    margin: int = 0  # wad of equity that losses may use
    losses: tuple[tuple[int, ...], ...] = ()  # wad, signed, of what we hold: by underlying and scenario
    places: tuple[Address, ...] = ()  # the contract of each of ``tokens``; protocols share those of one desk


class Curve(Protocol):
    """What waiting is worth: gross gain in US dollars (wad) if included at a timestamp; never falls."""

    def gain(self, at: int) -> int: ...

    def reaches(self, gain: int) -> int | None:
        """First timestamp with at least this gain, or None if the curve never gets there."""
        ...


class Odds(Protocol):
    """What others may do to an auction; a share is wad."""

    @property
    def block_time(self) -> int:
        """Seconds."""
        ...

    def hazard(self, net: int, at: int) -> int:
        """Probability that somebody else buys in the block at ``at``, having not bought before.

        ``net`` is what the purchase would bring us then, US dollars (wad): rivals price the same account.
        """
        ...

    def chance(self, net: int, at: int) -> int:
        """Probability that a bid for that block wins, nobody having bought before."""
        ...


@dataclass(frozen=True, slots=True)
class Opportunity:
    """Something that can be done to one account, valued at ``at``."""

    id: bytes  # 24 bytes; the same while the same thing is on offer
    protocol: str
    key: Key
    kind: Kind
    at: Moment
    gain: int  # gross, US dollars (wad)
    costs: Costs
    needs: Needs
    plan: Any  # the adapter's own parameters for ``calls``
    curve: Curve | None = None  # None: waiting gains nothing
    opens: int = 0  # timestamp before which it cannot succeed
    expires: int = 2**40  # timestamp after which it cannot succeed
    refusal: Reason | None = None  # set when the adapter knows that it cannot pay or succeed
    evidence: Mapping[str, int] = field(default_factory=dict)
    scale: int = 0  # usd; what rivals' margins are a share of (auctions: the requirement bought); 0 where none bid
    chance: int = 10**18  # wad, probability of winning when sent for ``at``
    odds: Odds | None = None  # of waiting

    @property
    def net(self) -> int:
        """What succeeding brings."""
        return self.gain - self.costs.total

    @property
    def expected(self) -> int:
        """What trying brings: net if won, the cost of failure if not. Rounded down."""
        return (self.net * self.chance - self.costs.failure * (10**18 - self.chance)) // 10**18

    @property
    def per_gas(self) -> int:
        """Expected US dollars (wad) per unit of gas."""
        return self.expected // max(self.needs.gas, 1)


# ─── what is decided ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Liquidate:
    """Act now, at a known price; the call reverts unless it still gains ``floor`` US dollars gross (wad)."""

    opportunity: Opportunity
    floor: int


@dataclass(frozen=True, slots=True)
class Bid:
    """Buy now from an auction; ``floor`` as for Liquidate."""

    opportunity: Opportunity
    floor: int


@dataclass(frozen=True, slots=True)
class Hedge:
    """Own upkeep: move delta or margin back to where it belongs."""

    opportunity: Opportunity


@dataclass(frozen=True, slots=True)
class Wait:
    """Right, but not yet."""

    opportunity: Opportunity
    until: int  # timestamp
    why: Reason


@dataclass(frozen=True, slots=True)
class Skip:
    """No."""

    opportunity: Opportunity
    why: Reason


Action = Liquidate | Bid | Hedge
Decision = Action | Wait | Skip


# ─── transactions ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Call:
    target: Address
    data: bytes
    value: int = 0  # wei


@dataclass(frozen=True, slots=True)
class Floor:
    """A number on chain, and the least by which the calls of a transaction must change it, or none of them counts."""

    proof: Call  # first word of what it returns, signed
    least: int


class Route(StrEnum):
    """How a transaction travels."""

    PUBLIC = "public"  # to every endpoint
    PRIVATE = "private"  # to a relay only; cancelled when that does not get it in
    FALLBACK = "fallback"  # to a relay first, to everybody when that does not get it in


@dataclass(frozen=True, slots=True)
class TxIntent:
    """One wish to change the chain; it has at most one effect, however often it is sent."""

    id: Hash  # opportunity id, then the block it was decided at: unique, the journal refuses a second one
    call: Call
    gas_limit: int
    budget: int  # wei; the most that gas may cost in the worst case
    valid_until: int  # timestamp; never sent or replaced after it
    purpose: str  # "bid options 0xabc…/0", for people
    at: Moment | None = None  # when it is expected to execute, and is simulated; None: in the pending block
    behind: tuple[Pending, ...] = ()  # calls that are not mined yet and that it relies on: simulated behind them
    subject: str = ""  # what it acts on, "options account 0xabc": one open intent and one retry budget each; "": none
    urgent: bool = True  # False: housekeeping, which leaves the last free slot to what is urgent
    route: Route | None = None  # None: as the settings say


class TxState(StrEnum):
    INTENT = "intent"
    PREPARED = "prepared"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    INCLUDED = "included"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    ABANDONED = "abandoned"  # no nonce was used
    CANCELLED = "cancelled"  # its nonce went to a no-op
    REPLACED = "replaced"  # its nonce went to a transaction that is not ours


@dataclass(frozen=True, slots=True)
class TxEvent:
    """A step in the life of an intent, as the kernel needs to know it."""

    intent: Hash
    state: TxState
    receipt: Receipt | None = None
    why: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the book says we own in one place, and the call that must return the same (first word, signed)."""

    amount: int  # smallest units of that place
    proof: Call


@dataclass(frozen=True, slots=True)
class Realised:
    """What the chain says an action brought, US dollars (wad)."""

    gain: int  # gross
    hedge: int = 0  # lost to slippage and pool fees on the hedge in the same transaction


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one end of an opportunity that was acted on."""

    opportunity: bytes
    protocol: str
    key: Key
    kind: Kind
    won: bool
    why: Reason | None
    gain: int  # gross, US dollars (wad), from what the chain says was paid and received
    hedge: int  # US dollars (wad) lost to slippage on the hedge in the same transaction
    fee: int  # wei of gas
    decided: int  # block number
    ended: int  # block number


# ─── effects: what the kernel asks the shell to do ────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the decision log; plain values only, so that two runs can be compared byte for byte."""

    block: int
    event: str  # dotted name from the closed list in observe/decisions.py
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    intent: TxIntent


@dataclass(frozen=True, slots=True)
class Seen:
    """Pending calls that the kernel was shown: with a head, or between two."""

    calls: tuple[Pending, ...]
    between: bool


@dataclass(frozen=True, slots=True)
class Prepare:
    """What the next block may ask for, by the rules of those who publish: to be signed, and sent only when it does."""

    intents: tuple[TxIntent, ...]


Effect = Send | Record | Outcome | Seen | Prepare


@dataclass(frozen=True, slots=True)
class Turn:
    """How long one head took, in seconds from the moment its batch was at hand, or a glance at it that was enough."""

    ref: BlockRef
    decided: float
    sent: float | None  # until the node had answered the first send; None when nothing was sent
