"""What is installed, and what importing it does."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.architecture.test_arrows import FILES, ROOT

LOCKS = sorted(ROOT.glob("requirements-*.lock"))


@pytest.mark.fault("D01")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_has_one_version_and_its_hashes_and_no_host(lock: object) -> None:
    text = "\n".join(
        line for line in ROOT.joinpath(str(lock)).read_text().splitlines() if not line.strip().startswith("#")
    )
    packages = re.split(r"\n(?=\S)", text.strip())
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+( ; .+)? \\\n", package), package.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package)
    assert not re.search(r"https?://|--index|--find-links|--trusted|file:", text)


@pytest.mark.fault("D01")
def test_installing_asks_for_the_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if "-r requirements-" in line]
    assert len(installs) == 3 and all("--require-hashes" in line for line in installs)


SEALED = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a connection at import")
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = refuse
socket.create_connection = socket.getaddrinfo = refuse
for name in {names}:
    __import__(name)
print(" ".join(sorted(sys.modules)))
"""


def loaded(names: list[str]) -> set[str]:
    """The modules that importing these loads, where nobody may open a connection."""
    code = SEALED.format(names=names)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.fault("D02")
def test_importing_everything_opens_no_connection() -> None:
    names = [name for name in FILES if name != "keeper.__main__"]
    assert set(names) <= loaded(names)


@pytest.mark.fault("D03")
def test_whoever_reads_the_chain_does_not_load_what_signs() -> None:
    names = [name for name in FILES if name.startswith(("keeper.chain", "keeper.core", "keeper.observe", "strategies"))]
    found = loaded(names)
    assert found & {"eth_account", "eth_keys", "coincurve", "keeper.tx.signer", "keeper.tx.keys"} == set()


@pytest.mark.fault("R21")
def test_nobody_asks_a_node_how_much_gas_is_enough() -> None:
    """Limits are our own, by action; an estimate could be a lie."""
    ours = {name: file for name, file in FILES.items() if not name.startswith(("keeper.testing", "keeper.simulation"))}
    assert [name for name, file in ours.items() if "estimateGas" in file.read_text()] == []
