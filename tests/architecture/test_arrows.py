"""Who may import whom, read from the syntax trees; an exception says why: ``import x  # arrow: reason``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for folder in ("keeper", "strategies")
    for file in sorted((ROOT / folder).rglob("*.py"))
}

FLOOR = "model units errors"
SHELL = f"{FLOOR} ports clock observe.redact"
HOUSE = (
    f"{SHELL} core margin protocols tx chain observe simulation testing settings daemon loading arming process chains"
)
ARROWS = {  # the longest name that fits decides; beside this, everyone may import their own package
    "keeper": "",
    "keeper.model": "",
    "keeper.units": "",
    "keeper.errors": "",
    "keeper.clock": "",
    "keeper.ports": "model",
    "keeper.margin": "units",
    "keeper.core": f"{FLOOR} ports",
    "keeper.protocols": f"{FLOOR} ports margin",
    "keeper.tx.machine": FLOOR,
    "keeper.tx.fees": FLOOR,
    "keeper.tx.nonces": FLOOR,
    "keeper.tx": SHELL,
    "keeper.chain": SHELL,
    "keeper.observe": SHELL,
    "keeper.process": SHELL,
    "keeper.testing": SHELL,
    "keeper.simulation": f"{SHELL} protocols margin",
    "keeper.settings": "errors units observe.redact",
    "keeper.daemon": f"{SHELL} core",
    "keeper.loading": f"{SHELL} protocols settings",
    "keeper.arming": f"{SHELL} core protocols tx settings process",
    "keeper.chains": f"{SHELL} chain settings",
    "keeper.bootstrap": HOUSE,
    "keeper.cli": f"{HOUSE} bootstrap",
    "keeper.__main__": "cli",
    "strategies": "model ports units",
}
PURE = re.compile(r"(keeper\.core|keeper\.margin|keeper\.protocols\.\w+\.\w+|strategies)\b")
IMPURE = {"aiohttp", "asyncio", "datetime", "os", "random", "secrets", "socket", "time", "uuid", "web3"}


def imports(module: str) -> Iterator[tuple[str, str]]:
    """What a module imports, anywhere in it, and where."""
    text = FILES[module].read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom) and "# arrow: " not in text.splitlines()[node.lineno - 1]:
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (f"{start}{alias.name}" for alias in node.names):
                yield name if name in FILES or not start else start[:-1], f"{module}:{node.lineno} -> {name}"


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def may_import(module: str, name: str) -> bool:
    room = max((room for room in ARROWS if within(module, room)), key=len)
    allowed = [room, *(f"keeper.{one}" for one in ARROWS[room].split())]
    return name == "keeper" or any(within(name, one) for one in allowed)


def test_imports_follow_the_arrows() -> None:
    found = [(module, *one) for module in FILES for one in imports(module)]
    ours = [one for one in found if one[1].split(".")[0] in ("keeper", "strategies")]
    assert [where for module, name, where in ours if not may_import(module, name)] == []


def test_the_pure_rooms_do_nothing_but_think() -> None:
    """No I/O, no clock, no chance."""
    found = [one for module in FILES if PURE.match(module) for one in imports(module)]
    assert [where for name, where in found if name.split(".")[0] in IMPURE] == []
