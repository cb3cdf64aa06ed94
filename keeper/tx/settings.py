"""How patient the transaction manager is."""

from dataclasses import dataclass

from keeper.errors import Misconfigured
from keeper.tx.fees import Policy


@dataclass(frozen=True, slots=True)
class Settings:
    fees: Policy
    confirmations: int = 3  # blocks, the including one counted, until an intent is CONFIRMED or CANCELLED
    finality: int = 64  # blocks until nothing about it is looked at again
    bump_after: int = 3  # blocks without inclusion until the lowest open nonce bids more
    max_in_flight: int = 16  # nonces without a receipt
    simulate: bool = True  # at the moment the intent is meant for, before a nonce is taken

    def __post_init__(self) -> None:
        if not 1 <= self.confirmations <= self.finality or self.bump_after < 1 or self.max_in_flight < 1:
            raise Misconfigured(
                f"transaction settings do not fit together: {self}",
                help="1 <= confirmations <= finality; bump after and max in flight at least 1",
            )
