"""The contracts with one mistake each: a test of the protocol, an attack or a walk must notice.

    python -m tests.invariants.mutants [WORD ...]      those whose name holds all the words; without any: all

Works on a copy in which one text of one contract is replaced and compiled. ``died`` names what killed the mutant. One
that survives is a line of Solidity that nothing holds; a text that is found never or twice is to be written anew.
"""

# ruff: noqa: E501 — the table is read by its columns

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("keeper", "tests", "strategies", "config", "pyproject.toml")
LINKED: Final = (".venv", "node_modules")  # the compiler and the node
CONTRACTS: Final = "keeper/protocols/options/contracts"
FIRST: Final = {  # the tests that know a contract best
    "Risk": ("tests/attacks",),
    "Liquidator": ("tests/protocol/test_cases.py", "tests/attacks"),
    "Waterfall": ("tests/protocol/test_waterfall.py", "tests/protocol/test_duties.py"),
    "Quotes": ("tests/protocol/test_quotes.py",),
    "Sealed": ("tests/protocol/test_sealed.py",),
    "Clearing": ("tests/protocol/test_cases.py",),
}
ROWS: Final = tuple(f"tests/contracts/test_{name}.py" for name in ("oracle", "params", "phase"))  # of the case table
THEN: Final = (
    ("tests", ("tests/protocol", "tests/attacks", *ROWS)),
    ("walks", ("tests/invariants/test_invariants.py",)),
)


class Mutant(NamedTuple):
    what: str  # the promise that is broken
    file: str
    old: str
    new: str


MUTANTS: Final = (
    Mutant("Risk: early gains cover later losses", "Risk", "x.carried = (c < 0 ? c : int256(0)) + Fixed", "x.carried = c + Fixed"),
    Mutant("Risk: only naked shorts have a floor", "Risk", "uint256 shorts = Fixed.mulUp(b.shorts, b.price);", "uint256 shorts = Fixed.mulUp(naked, b.price);"),
    Mutant("Risk: no clamp", "Risk", "if (mode == Price.Spot) return spot;", "if (mode != Price.Trigger) return spot;"),
    Mutant("Risk: size counts once, not squared", "Risk", "Math.fullMulDivUp(exposure, exposure, p.depths[b.u])", "exposure"),
    Mutant("Risk: a short leg rounded towards zero", "Risk", "b.value += Fixed.rawMulDown(n, int256(v));", "b.value += n * int256(v) / SWAD;"),
    Mutant("Risk: requirement rounded down", "Risk", "h.mm += Fixed.mulUp(p.mmFactor, loss);", "h.mm += p.mmFactor * loss / WAD;"),
    Mutant("Risk: a new set binds at once", "Risk", "if (previous == 0) return (h, version);", "if (version != 0) return (h, version);"),
    Mutant("Liquidator: spot is not asked", "Liquidator", "if (!h.clamped) return (h, version);", "if (version != 0) return (h, version);"),
    Mutant("Liquidator: no grace after an outage", "Liquidator", "if (block.timestamp < resumed + grace) revert NotYet(account, block.timestamp, resumed + grace);", ""),
    Mutant("Liquidator: rho a second ahead", "Liquidator", "(p.rho1 - p.rho0) * t / p.t1", "(p.rho1 - p.rho0) * (t + 1) / p.t1"),
    Mutant("Liquidator: the fund pays any discount", "Liquidator", "return Math.min(rho, Math.max(uint256(equity) * WAD / mm, p.rhoFund));", "return rho;"),
    Mutant("Liquidator: slice rounded up", "Liquidator", "? Math.fullMulDivUp(2 * uint256(x), WAD, uint256(B) + root)", "? Math.fullMulDiv(2 * uint256(x), WAD, uint256(B) + root)"),
    Mutant("Liquidator: dust is left", "Liquidator", "return mm * g / WAD < p.dust ? WAD : f;", "return f;"),
    Mutant("Liquidator: no cap per auction", "Liquidator", "Math.min(mm * p.rhoFund / WAD, Math.min(here, epoch))", "Math.min(mm * p.rhoFund / WAD, epoch)"),
    Mutant("Liquidator: no cap by requirement", "Liquidator", "Math.min(mm * p.rhoFund / WAD, Math.min(here, epoch))", "Math.min(here, epoch)"),
    Mutant("Liquidator: fee on the whole discount", "Liquidator", "o.price <= 0 ? 0 : Math.min(discount, uint256(o.price));", "o.price <= 0 ? 0 : discount;"),
    Mutant("Liquidator: price rounded down", "Liquidator", "paid = Fixed.mulUp(o.price, int256(f));", "paid = Fixed.mulDown(o.price, int256(f));"),
    Mutant("Liquidator: bids at level 3", "Liquidator", "if (oracle.level() >= 3) revert Level(3);", ""),
    Mutant("Liquidator: bids on a dead price", "Liquidator", "if (s.health.stale) revert Stale(account);", ""),
    Mutant("Liquidator: cured at Q", "Liquidator", "Fixed.mulUp(h.mm, WAD + _params(version).buffer / 5)", "h.mm"),
    Mutant("Liquidator: takeovers without a cap", "Liquidator", "        _spendTake(s.p, s.health.mm);\n", ""),
    Mutant("Liquidator: a restart forgets what the fund paid", "Liquidator", "if (a.curedAt != 0) spent[account] = 0;", "spent[account] = 0;"),
    Mutant("Waterfall: creditors are paid in full", "Waterfall", "return n > 0 ? value : -Fixed.mulDown(-value, int256(rate));", "return value;"),
    Mutant("Waterfall: the queue ruins a counterparty", "Waterfall", "if (!_sound(p)) return (0, score);", ""),
    Mutant("Waterfall: any order in the queue", "Waterfall", "if (score > last) revert NotSorted(i, score, last);\n            last = score;\n            rest -= n;", "rest -= n;"),
    Mutant("Waterfall: a loss shared at once", "Waterfall", "if (equity < 0 && !end) revert NotYet(account, s.t, s.p.t1 + s.p.adlDelay);", ""),
    Mutant("Waterfall: close-out at once", "Waterfall", "if (s.t < s.p.t1) revert NotYet(account, s.t, s.p.t1);", ""),
    Mutant("Waterfall: everybody pays before the reserve", "Waterfall", "uint256 fromReserve = Math.min(deficit - fromFund, clearing.reserve());", "uint256 fromReserve = 0;"),
    Mutant("Quotes: short legs sold as insurance", "Quotes", "if (package[i].size() <= 0) revert NotLong(package[i]);", ""),
    Mutant("Quotes: any premium", "Quotes", "if (excess > int256(most)) revert TooDear(excess, most);", ""),
    Mutant("Quotes: enough is Q", "Quotes", "Fixed.mulUp(h.mm, WAD + p.buffer / 5)", "h.mm"),
    Mutant("Sealed: any discount", "Sealed", "if (!fits || rho > p.rhoSealed || ", "if (!fits || "),
    Mutant("Sealed: the dearest bid wins", "Sealed", "all[i].rho < all[found].rho", "all[i].rho > all[found].rho"),
    Mutant("Sealed: silence costs nothing", "Sealed", "bool lost = stage && all[i].hash != 0;", "bool lost = false;"),
    Mutant("Clearing: withdrawals at a raised level", "Clearing", "if (oracle.level() != 0 && a.legs != 0) revert Level(oracle.level());", ""),
    Mutant("Clearing: what is for sale gives out", "Clearing", "if (a.flagged) revert Flagged(account);", ""),
    Mutant("Clearing: margin of a trade not asked", "Clearing", "if (h.equity < int256(h.im)) revert UnderMargin(account, h.equity, h.im);", ""),
)  # fmt: skip


def main(words: list[str]) -> int:
    """How many did not die."""
    left, chosen = 0, [m for m in MUTANTS if all(word in m.what for word in words)]
    with TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        for name in LINKED:
            (copy / name).symlink_to(ROOT / name)
        for mutant in chosen:
            verdict = _tried(mutant, copy)
            left += not verdict.startswith("died")
            print(f"{verdict:<16} {mutant.what}", flush=True)  # noqa: T201
    print(f"{len(chosen) - left} of {len(chosen)} killed")  # noqa: T201
    return left


def _tried(mutant: Mutant, copy: Path) -> str:
    file = copy / CONTRACTS / f"{mutant.file}.sol"
    text = file.read_text()
    if text.count(mutant.old) != 1:
        return f"found {text.count(mutant.old)}x"
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        if not _passes(copy, "keeper.protocols.build"):
            return "does not compile"
        stages = (("tests", FIRST[mutant.file]), *THEN)
        killers = (name for name, tests in stages if not _passes(copy, "pytest", "-q", "-x", *tests))
        return next((f"died: {name}" for name in killers), "SURVIVED")
    finally:
        file.write_text(text)


def _passes(copy: Path, module: str, *args: str) -> bool:
    command = [sys.executable, "-m", module, *args]
    return subprocess.run(command, cwd=copy, capture_output=True, timeout=600, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
