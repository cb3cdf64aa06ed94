"""How patient the transaction manager is, and what it may lose."""

from dataclasses import dataclass
from typing import Final

from keeper.errors import Misconfigured
from keeper.model import Route
from keeper.tx.fees import Policy

DAY: Final = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Of all keys of a keeper together. Costs are wei in the worst case: gas at the highest bid, and the value.

    What is in flight counts in full in every window, however old it is. None: no limit.
    """

    tx_value: int | None = None  # wei sent along with one call
    tx_cost: int | None = None
    hour_cost: int | None = None
    day_cost: int | None = None
    min_profit: int = 0  # US dollars (wad) that a purchase must bring, before gas, or revert
    signatures: int | None = None  # per minute
    deadline: int | None = None  # seconds from now that the deadline written in a call may lie, and there must be one
    reverts: int | None = None  # acts that revert in a row until no new one begins
    lost: int | None = None  # wei that acts which revert in a row may cost
    retries: int | None = None  # reverts of one subject until it is left alone for the quarantine
    quarantine: int = 3600  # chain seconds


@dataclass(frozen=True, slots=True)
class Settings:
    fees: Policy
    confirmations: int = 3  # blocks, the including one counted, until an intent is CONFIRMED or CANCELLED
    finality: int = 64  # blocks until nothing about it is looked at again
    bump_after: int = 3  # blocks without inclusion until the lowest open nonce bids more
    max_in_flight: int = 16  # nonces without a receipt
    urgent_slots: int = 0  # of these, kept free of housekeeping
    simulate: bool = True  # at the moment the intent is meant for, before a nonce is taken
    route: Route = Route.PUBLIC  # of intents that do not say
    private_blocks: int = 5  # that a relay has until everybody gets it, where that is allowed
    ahead: int = 4  # transactions kept signed for what is expected of the next block
    gas_reserve: int = 0  # wei that new intents leave in the account, for replacements and cancellations
    max_balance: int | None = None  # wei that a hot key should hold at most; more is said, once
    keep: int = 90 * DAY  # chain seconds that what is final stays in the journal; then it is archived
    adopt: bool = True  # whether a new journal may take the chain's count of a key that was used before
    limits: Limits = Limits()
    fingerprint: str = ""  # of the operator's settings, for the audit

    def __post_init__(self) -> None:
        if not 1 <= self.confirmations <= self.finality or self.bump_after < 1 or self.max_in_flight < 1:
            raise Misconfigured(
                f"transaction settings do not fit together: {self}",
                help="1 <= confirmations <= finality; bump after and max in flight at least 1",
            )
        if self.keep < 2 * DAY + self.limits.quarantine:
            raise Misconfigured(
                f"transaction settings do not fit together: {self}",
                help="keep at least two days and the quarantine: limits are read from the journal",
            )
        if not 0 <= self.urgent_slots < self.max_in_flight or not 1 <= self.private_blocks <= 25:
            raise Misconfigured(
                f"transaction settings do not fit together: {self}",
                help="urgent slots below max in flight; private blocks 1 to 25, which is all that relays promise",
            )
