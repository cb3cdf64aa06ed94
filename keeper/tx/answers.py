"""What a node's answer to a send means. Wording differs by client and version; only this table cares.

No answer is a fact: geth returns a hash for transactions that it did not take, and an error may follow an
acceptance. So the classes only say what to try next, and everything unknown is MAYBE: it may be out there.
"""

from enum import StrEnum
from typing import Final

from keeper.ports import Sent


class Answer(StrEnum):
    ACCEPTED = "accepted"
    HAVE_IT = "have it"  # ours, in the pool
    CONSUMED = "consumed"  # the nonce is used; receipts tell by whom
    REPLACE_LOW = "replace low"  # the pool holds another transaction of this nonce, nearly as dear or dearer
    POOL_LOW = "pool low"  # too cheap to be let in
    BASE_LOW = "base low"  # below the base fee
    FUNDS = "funds"  # cannot pay gas and value
    GAP = "gap"  # a lower nonce is missing
    LIMIT = "limit"  # too many of this account in the pool
    DEFINITE = "definite"  # can never be valid: our bug, or our configuration
    MAYBE = "maybe"  # time-out, reset, or words we do not know


# Lower-case substrings; the first row that matches wins, so narrower wording stands above wider.
PATTERNS: Final[tuple[tuple[Answer, tuple[str, ...]], ...]] = (
    (Answer.MAYBE, ("transport: ",)),  # our own client: whatever follows was not said by a node
    (
        Answer.HAVE_IT,
        (
            "already known",
            "alreadyknown",
            "already imported",
            "known transaction",
            "existing tx with same hash",
            "existing txn with same hash",
        ),
    ),
    (Answer.CONSUMED, ("nonce too low", "oldnonce", "ownnoncealreadyused", "already mined")),
    (
        Answer.REPLACE_LOW,
        ("replacement transaction underpriced", "could not replace existing", "replacementnotallowed"),
    ),
    (Answer.BASE_LOW, ("max fee per gas less than block base fee",)),
    (Answer.GAP, ("nonce too high", "noncegap", "gapped-nonce")),
    (Answer.LIMIT, ("in-flight transaction limit", "account limit exceeded", "spammer", "already reserved")),
    (Answer.FUNDS, ("insufficient funds", "insufficientfunds", "upfront cost exceeds")),
    (
        Answer.DEFINITE,
        (
            "rlp:",
            "failed to decode transaction",
            "empty transaction data",
            "invalid sender",
            "invalid chain id",
            "only replay-protected",
            "intrinsic gas",
            "floor data gas",
            "exceeds block gas limit",
            "gas limit too high",
            "gas limit is too high",
            "gas limit reached",
            "gaslimitexceeded",
            "exceeds the configured cap",
            "max priority fee per gas higher than max fee per gas",
            "oversized data",
        ),
    ),
    (
        Answer.POOL_LOW,
        (
            "underpriced",
            "fee too low",
            "feetoolow",
            "txpool is full",
            "sub-pool is full",
            "gas price below",
            "minimum needed",
        ),
    ),
)


def classify(sent: Sent) -> Answer:
    if sent.accepted:
        return Answer.ACCEPTED
    error = sent.error.lower()
    return next((answer for answer, words in PATTERNS if any(word in error for word in words)), Answer.MAYBE)
