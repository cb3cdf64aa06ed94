"""Every test that the table of references names is there."""

import ast
import re
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent
NAMED = re.findall(r"\| (?:faults/)?(\w+\.py)::(\w+) \|", (FAULTS / "README.md").read_text())


def names_in(file: str) -> set[str]:
    folder = FAULTS if (FAULTS / file).is_file() else FAULTS.parent / "unit"
    tree = ast.parse((folder / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_table_is_read() -> None:
    rows = [line for line in (FAULTS / "README.md").read_text().splitlines() if "::" in line and line.startswith("|")]
    assert len(NAMED) == len(rows) > 60


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_what_the_table_names_is_there(file: str, name: str) -> None:
    assert name in names_in(file)


# What there is to have an equivalent for: every name in the lists of Optimism's txmgr and of Chainlink's crash-resume,
# confirmer, resender and finalizer tests, as the first column of the table spells them.
OPTIMISM = """
NoAbortAfterInit AfterProcessNilError AfterProcessOtherError AbortSafelyAfterNonceTooLowNoTxPublished
AbortSafelyAfterNonceTooLowButNoTxMined MiningTxCancelsAbort ReorgingTxResetsAbort NoAbortEvenIfNonceTooLowAfterTxMined
SafeAbortIfNonceTooLowPersistsAfterUnmine SafeAbortWhileCallingNotMinedOnUnminedTx
IsWaitingForConfirmationAfterTxMined IsNotWaitingForConfirmationAfterTxUnmined TimeoutAbort NoTimeoutAbortIfPublishedTx
ConfirmAtMinGasPrice NeverConfirmCancel TxSendTimeout AlreadyReserved ConfirmsAtHigherGasPrice
ConfirmsBlobTxAtHigherGasPrice BlocksOnFailingRpcCalls CraftTx CraftBlobTx EstimateGas EstimateGasFails SigningFails
OnlyOnePublicationSucceeds ConfirmsMinGasPriceAfterBumping RetriesUnbumpableTx DoesntAbortNonceTooLowAfterMiningTx
WaitMinedReturnsReceiptOnFirstSuccess CanBeCanceled WaitMinedMultipleConfs WaitMinedReturnsReceiptAfterFailure
ManagerErrsOnZeroCLIConfs ManagerErrsOnZeroConfs DefaultConfigIsValid DefaultCLIOptionsMatchDefaultConfig
IncreaseGasPrice IncreaseGasPriceLimits ErrStringMatch NonceReset MinFees Close CloseWaitingForConfirmation MakeSidecar
SendAsyncUnbufferedChan UpdateFees ControlLoop Scenario FailureAndRetry ConductorRestart HandleInitError
"""
PHRASES = """
queue: success, no limit, single and dual threaded, blocking
queue: subsequent txs fail after failure
rpc: Get and Set
health: low peer count
health: unsafe and safe head stalled
(a) previous run assigned a nonce but never sent
(b) sent, fatally errored before saving
(c) now in the mempool
(d) now confirmed
(e) node was and is still down
(f) rebooted with another gas price
more than one unfinished transaction per address impossible
external wallet, replacement underpriced
fatal errors
fee cap exceeded
random error: not accepted, nonce check fails, accepted
underpriced escalates
bump config zero
out of eth stays in progress
nonce too high stays in progress
keystore error leaves the nonce unused
row deleted during estimation
simulation time-out
simulation revert
reorg single
reorg multiple
reorg of a terminally stuck one (its purge)
find for rebroadcast
already in mempool due to previous crash
saves attempt although nonce used meanwhile
temporary error saves in-progress attempt
initial bump underpriced is re-bumped
bump over max resubmits old price
resender: max in flight
resender: alert once
resender: broadcast time updated even on error
not yet final
reorged receipt deleted
older than history
head errors
""".strip().splitlines()


def test_every_test_of_the_references_has_a_row() -> None:
    rows = [line.split(" | ")[0] for line in (FAULTS / "README.md").read_text().splitlines() if "::" in line]
    words = {word for row in rows for word in re.findall(r"\w+", row)}
    assert [name for name in OPTIMISM.split() if name not in words] == []
    assert [phrase for phrase in PHRASES if not any(phrase in row for row in rows)] == []
