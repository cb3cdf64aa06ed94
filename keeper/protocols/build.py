"""Compile the contracts of the options protocol into ``artifacts.json``: ``python -m keeper.protocols.build``.

The compiler is solc-js from the project's pinned npm packages, so that the same sources give the same bytes on
every machine. Running the keeper needs none of this: it reads the committed artifacts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from keeper.errors import Misconfigured

HERE = Path(__file__).parent
ROOT = HERE.parent.parent  # of the repository; compiling is a developer's job
SOURCES = HERE / "options" / "contracts"
ARTIFACTS = HERE / "options" / "artifacts.json"
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
}
SOLC_JS = """
const [solc, ...roots] = process.argv.slice(1);
const fs = require('fs'), path = require('path');
const find = name => {
  const file = roots.map(root => path.join(root, name)).find(fs.existsSync);
  return file ? {contents: fs.readFileSync(file, 'utf8')} : {error: 'not found: ' + name};
};
process.stdout.write(require(solc).compile(fs.readFileSync(0, 'utf8'), {import: find}));
"""


def sources() -> dict[str, str]:
    """Our Solidity files by path relative to the contracts folder."""
    return {str(path.relative_to(SOURCES)): path.read_text() for path in sorted(SOURCES.rglob("*.sol"))}


def source_hash() -> str:
    """Changes when any source or setting does."""
    return hashlib.sha256(json.dumps([sources(), SETTINGS], sort_keys=True).encode()).hexdigest()


def compile_(files: dict[str, str], solc: str = "solc", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Standard-JSON compilation with an npm ``solc``; returns its ``contracts``. Raises Misconfigured on errors."""
    node = shutil.which("node") or shutil.which("node", path=str(ROOT / ".venv" / "bin"))
    modules = ROOT / "node_modules"
    if node is None or not (modules / solc).exists():
        raise Misconfigured("the Solidity compiler is not installed", help="make setup")
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in files.items()},
        "settings": settings or SETTINGS,
    }
    done = subprocess.run(  # noqa: S603
        [node, "-e", SOLC_JS, str(modules / solc), str(modules)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    errors = [e["formattedMessage"] for e in answer.get("errors", []) if e["severity"] == "error"]
    if errors:
        raise Misconfigured("\n".join(errors[:5]))
    contracts: dict[str, Any] = answer["contracts"]
    return contracts


def artifacts() -> dict[str, Any]:
    """Compile our contracts: ABI, creation and runtime code of each contract that can be deployed."""
    contracts = {}
    for by_name in compile_(sources()).values():
        for name, c in by_name.items():
            if c["evm"]["bytecode"]["object"] and any(entry["type"] == "function" for entry in c["abi"]):
                contracts[name] = {
                    "abi": c["abi"],
                    "bytecode": c["evm"]["bytecode"]["object"],
                    "runtime": c["evm"]["deployedBytecode"]["object"],
                }
    version = json.loads((ROOT / "node_modules" / "solc" / "package.json").read_text())["version"]
    return {
        "compiler": version,
        "settings": SETTINGS,
        "source_hash": source_hash(),
        "contracts": {name: contracts[name] for name in sorted(contracts)},
    }


def main() -> None:
    built = artifacts()
    ARTIFACTS.write_text(json.dumps(built, indent=1) + "\n")
    for name, c in built["contracts"].items():
        print(f"{name:12} {len(c['runtime']) // 2:6} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
