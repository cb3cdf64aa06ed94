"""What a release consists of: ``python config/ops/release.py DIST`` (also: ``make release``).

keeper-*.whl   built from the tree; the same bytes whenever and wherever it is built
sbom.json      CycloneDX: every package that it runs with, its version and the hashes it is installed by
SHA256SUMS     of both; check with ``sha256sum -c SHA256SUMS``
SHA256SUMS.sig with SIGNING_KEY=file: made by ``ssh-keygen -Y sign -n keeper``; check with ``ssh-keygen -Y verify``
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements-run.lock"
EPOCH = "1577836800"  # 2020-01-01: the time that files in the wheel bear


def wheel(dist: Path) -> Path:
    """Built without a network and without reading the clock."""
    environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)  # noqa: S603
    [built] = dist.glob("keeper-*.whl")
    return built


def sbom(lock: str, version: str) -> dict[str, Any]:
    """The packages of a lock file, in the order in which it names them."""
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    found = [(match, entry) for entry in entries if (match := re.match(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", entry))]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "keeper", "version": version}},
        "components": [
            {
                "type": "library",
                "name": match[1],
                "version": match[2],
                "purl": f"pkg:pypi/{match[1]}@{match[2]}",
                "hashes": [{"alg": "SHA-256", "content": one} for one in re.findall(r"sha256:([0-9a-f]{64})", entry)],
            }
            for match, entry in found
        ],
    }


def release(dist: Path, key: str | None) -> list[Path]:
    """Everything, in ``dist``; signed when there is a key."""
    dist.mkdir(parents=True, exist_ok=True)
    built = wheel(dist)
    bill = dist / "sbom.json"
    bill.write_text(json.dumps(sbom((ROOT / LOCK).read_text(), built.name.split("-")[1]), indent=1) + "\n")
    sums = dist / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in (bill, built)))
    made = [built, bill, sums]
    if key:
        signature = sums.with_name(f"{sums.name}.sig")
        signature.unlink(missing_ok=True)
        command = ["ssh-keygen", "-Y", "sign", "-n", "keeper", "-f", key, str(sums)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        made.append(signature)
    return made


if __name__ == "__main__":
    for file in release(Path(sys.argv[1]), os.environ.get("SIGNING_KEY")):
        print(file)  # noqa: T201
