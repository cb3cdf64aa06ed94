"""The wording of each client, as recorded; the class decides what is tried next."""

from dataclasses import dataclass

import pytest

from keeper.tx.answers import Answer, classify


@dataclass
class Said:
    accepted: bool = False
    error: str = ""


# client, its words, what they mean
SAMPLES = [
    ("geth", "already known", Answer.HAVE_IT),
    ("erigon", "existing txn with same hash", Answer.HAVE_IT),
    ("erigon, older", "INTERNAL_ERROR: existing tx with same hash", Answer.HAVE_IT),
    ("nethermind, older", "AlreadyKnown", Answer.HAVE_IT),
    ("reth", "already known", Answer.HAVE_IT),
    ("erigon", "already known", Answer.HAVE_IT),
    ("nethermind", "already known", Answer.HAVE_IT),
    ("besu", "Known transaction", Answer.HAVE_IT),
    ("anvil", "transaction already imported", Answer.HAVE_IT),
    ("geth", "nonce too low: next nonce 7, tx nonce 6", Answer.CONSUMED),
    ("nethermind, older", "OldNonce", Answer.CONSUMED),
    ("nethermind, older", "OwnNonceAlreadyUsed", Answer.CONSUMED),
    ("reth", "nonce too low: next nonce 7, tx nonce 6", Answer.CONSUMED),
    ("erigon", "nonce too low", Answer.CONSUMED),
    ("nethermind", "nonce too low", Answer.CONSUMED),
    ("besu", "Nonce too low", Answer.CONSUMED),
    ("anvil", "nonce too low", Answer.CONSUMED),
    ("geth", "replacement transaction underpriced", Answer.REPLACE_LOW),
    ("reth", "replacement transaction underpriced", Answer.REPLACE_LOW),
    ("erigon", "replacement transaction underpriced", Answer.REPLACE_LOW),
    ("erigon", "could not replace existing tx", Answer.REPLACE_LOW),
    ("nethermind", "replacement transaction underpriced", Answer.REPLACE_LOW),
    ("besu", "Replacement transaction underpriced", Answer.REPLACE_LOW),
    ("anvil", "replacement transaction underpriced", Answer.REPLACE_LOW),
    ("nethermind, older", "ReplacementNotAllowed", Answer.REPLACE_LOW),
    ("geth", "transaction underpriced", Answer.POOL_LOW),
    ("geth", "txpool is full", Answer.POOL_LOW),
    (
        "geth",
        "transaction gas price below minimum: gas tip cap 1, minimum needed 1000000",
        Answer.POOL_LOW,
    ),
    ("reth", "txpool is full", Answer.POOL_LOW),
    ("nethermind", "transaction underpriced", Answer.POOL_LOW),
    ("nethermind, older", "FeeTooLow", Answer.POOL_LOW),
    ("erigon", "underpriced", Answer.POOL_LOW),
    ("erigon", "pending sub-pool is full", Answer.POOL_LOW),
    ("erigon", "fee too low", Answer.POOL_LOW),
    ("nethermind, older", "FeeTooLowToCompete", Answer.POOL_LOW),
    ("besu", "Gas price below configured minimum", Answer.POOL_LOW),
    ("anvil", "max fee per gas less than block base fee", Answer.BASE_LOW),
    ("geth", "insufficient funds for gas * price + value: balance 1, tx cost 3, overshot 2", Answer.FUNDS),
    ("reth", "insufficient funds for gas * price + value: have 1 want 3", Answer.FUNDS),
    ("nethermind, older", "InsufficientFunds", Answer.FUNDS),
    ("besu", "Upfront cost exceeds account balance", Answer.FUNDS),
    ("anvil", "Insufficient funds for gas * price + value", Answer.FUNDS),
    ("geth, blobs", "nonce too high", Answer.GAP),
    ("nethermind", "nonce too high", Answer.GAP),
    ("geth", "gapped-nonce tx from delegated accounts", Answer.GAP),
    ("nethermind, older", "NonceGap", Answer.GAP),
    ("geth", "in-flight transaction limit reached for delegated accounts", Answer.LIMIT),
    ("geth", "address already reserved", Answer.LIMIT),
    ("geth", "authority already reserved", Answer.LIMIT),
    ("reth", "address already reserved", Answer.LIMIT),
    ("erigon", "spammer", Answer.LIMIT),
    ("geth", "rlp: expected input list for types.DynamicFeeTx", Answer.DEFINITE),
    ("geth", "intrinsic gas too low: gas 20000, minimum needed 21000", Answer.DEFINITE),
    ("geth", "insufficient gas for floor data gas cost: gas 21000, minimum needed 31000", Answer.DEFINITE),
    ("geth", "exceeds block gas limit", Answer.DEFINITE),
    ("reth", "exceeds block gas limit", Answer.DEFINITE),
    ("reth", "intrinsic gas too low", Answer.DEFINITE),
    ("anvil", "intrinsic gas too low", Answer.DEFINITE),
    ("geth", "only replay-protected (EIP-155) transactions allowed over RPC", Answer.DEFINITE),
    ("geth", "transaction gas limit too high (cap: 16777216, tx: 16777217)", Answer.DEFINITE),
    ("geth", "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Answer.DEFINITE),
    ("geth", "max priority fee per gas higher than max fee per gas", Answer.DEFINITE),
    ("geth", "invalid sender", Answer.DEFINITE),
    ("erigon", "gas limit is too high", Answer.DEFINITE),
    ("nethermind", "gas limit reached", Answer.DEFINITE),
    ("nethermind, older", "GasLimitExceeded", Answer.DEFINITE),
    ("anvil", "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", Answer.DEFINITE),
    ("anvil", "invalid chain id for signer", Answer.DEFINITE),
    ("anvil", "Failed to decode transaction", Answer.DEFINITE),
    ("anvil", "Empty transaction data", Answer.DEFINITE),
    ("anvil", "Transaction confirmation timeout", Answer.MAYBE),
    ("geth", "future transaction tries to replace pending", Answer.MAYBE),
    ("proxy", "503 service unavailable", Answer.MAYBE),
    ("proxy", "connection reset by peer", Answer.MAYBE),
    ("proxy", "cannot decode the answer: unexpected end of data", Answer.MAYBE),
    ("our client", "transport: bad gateway: nonce too low", Answer.MAYBE),
    ("nobody yet", "", Answer.MAYBE),
]


@pytest.mark.fault("T04", "T08", "T14", "T29", "T44")
@pytest.mark.parametrize(("client", "error", "meaning"), SAMPLES)
def test_recorded_wording(client: str, error: str, meaning: Answer) -> None:
    assert classify(Said(error=error)) is meaning
    assert classify(Said(error=error.lower())) is meaning


def test_an_accepted_send_has_no_other_meaning() -> None:
    assert classify(Said(accepted=True)) is Answer.ACCEPTED


def test_every_class_has_a_recorded_sample() -> None:
    assert {meaning for *_, meaning in SAMPLES} | {Answer.ACCEPTED} == set(Answer)
