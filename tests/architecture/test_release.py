"""A release: the same bytes twice, a bill of what is in it, sums, and a signature."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from keeper import __version__
from tests.architecture.test_arrows import ROOT


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "config" / "ops" / "release.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.fault("D04")
def test_a_release_is_the_same_twice_and_its_sums_hold(release: ModuleType, tmp_path: Path) -> None:
    made = [release.release(tmp_path / name, None) for name in ("one", "two")]
    assert [file.name for file in made[0]] == [f"keeper-{__version__}-py3-none-any.whl", "sbom.json", "SHA256SUMS"]
    for one, two in zip(*made, strict=True):
        assert one.read_bytes() == two.read_bytes()
    lines = made[0][2].read_text().splitlines()
    told = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert told == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in made[0][:2]}


@pytest.mark.fault("D04")
def test_the_wheel_holds_the_package_and_nothing_else(release: ModuleType, tmp_path: Path) -> None:
    names = zipfile.ZipFile(release.wheel(tmp_path)).namelist()
    assert "keeper/protocols/options/artifacts.json" in names
    assert {name.split("/")[0] for name in names} == {"keeper", f"keeper-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".toml", ".db", ".lock"))]


@pytest.mark.fault("D04")
def test_the_bill_names_every_package_that_is_installed_with_its_hashes(release: ModuleType) -> None:
    lock = (ROOT / release.LOCK).read_text()
    bill = release.sbom(lock, "1")
    pinned = [line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert [each["name"] for each in bill["components"]] == pinned and "aiohttp" in pinned
    assert all(each["hashes"] and each["version"] for each in bill["components"])
    assert sum(len(each["hashes"]) for each in bill["components"]) == lock.count("--hash=sha256:")
    json.dumps(bill)


@pytest.mark.fault("D04")
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here to sign with")
def test_the_sums_are_signed_and_a_change_is_noticed(release: ModuleType, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    *_, sums, signature = release.release(tmp_path / "dist", str(key))
    (tmp_path / "signers").write_text(f"us {key.with_suffix('.pub').read_text()}")
    check = ["ssh-keygen", "-Y", "verify", "-f", tmp_path / "signers", "-I", "us", "-n", "keeper", "-s", signature]

    def holds(text: bytes) -> bool:
        return subprocess.run(check, input=text, capture_output=True, check=False).returncode == 0

    assert holds(sums.read_bytes())
    assert not holds(sums.read_bytes().replace(b"sbom", b"SBOM"))


# ─── nothing is loaded from where one happens to be ───────────────────────────────────────────────


@pytest.mark.fault("F07")
@pytest.mark.parametrize("start", [[sys.executable, "-m", "keeper"], [Path(sys.executable).with_name("keeper")]])
@pytest.mark.parametrize("verb", [["version"], ["config", "check", "-c", "empty.toml"], ["run", "-c", "empty.toml"]])
def test_nothing_is_loaded_from_the_working_directory(start: list[object], verb: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    for name in ("structlog", "aiohttp", "pydantic", "json", "sqlite3", "numpy", "coincurve", "strategies", "orjson"):
        (tmp_path / f"{name}.py").write_text(f"open('{tmp_path}/loaded', 'a').write('{name} ')")
    ran = subprocess.run([*map(str, start), *verb], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not (tmp_path / "loaded").exists(), (tmp_path / "loaded").read_text()
    assert "Traceback" not in ran.stderr


@pytest.mark.fault("F07")
def test_the_service_does_not_start_in_a_folder_that_others_may_write() -> None:
    unit = (ROOT / "config" / "ops" / "keeper.service").read_text()
    assert "ExecStart=" in unit and "python -m" not in unit
