"""Nothing is compiled while a block waits: until a quicker kernel is ready, numpy scans, and names the same."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

from keeper.margin.scan import kernels
from keeper.margin.scan.kernels.ready import Ready
from keeper.protocols.options import columns
from keeper.protocols.options.columns import WARM_AT, Columns
from tests.worlds.crowd import Crowd, people

FRESH = """
import sys
from keeper.margin.scan.kernels.ready import READY
from tests.worlds.crowd import Crowd, people
c = Crowd()
c.settle(people(1, 1_200, 12))
cold = c.columns.suspects(c, c.at)
slow = {"numba", "scipy"} & set(sys.modules)
assert not slow, f"a scan loaded {slow}"
assert READY.name == "plain" and c.columns.warming() is not None
print(c.columns.warming()())
assert c.columns.warming() is None
from keeper.margin.scan.kernels import legs, compiled, values
made = [legs.eight_legs, compiled._many, values._terms]
before = [len(each.signatures) for each in made]
assert all(before), before
assert c.columns.suspects(c, c.at) == cold
c.columns._index_from = 0
for _ in range(2):
    assert c.columns.suspects(c, c.at) == cold  # makes an index, and looks at a part of it
assert [len(each.signatures) for each in made] == before, "a scan compiled"
"""


def test_a_scan_loads_and_compiles_nothing() -> None:
    if "compiled" not in kernels.installed():
        pytest.skip("numba is not installed")
    found = subprocess.run([sys.executable, "-c", FRESH], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "compiled"


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> Ready:
    """As in a process that has just started."""
    fresh = Ready()
    monkeypatch.setattr(columns, "READY", fresh)
    return fresh


def test_small_books_are_not_worth_it(ready: Ready) -> None:
    c = Crowd()
    c.settle(people(1, WARM_AT - 1))
    assert c.columns.warming() is None
    c.settle(people(2, 1))
    assert c.columns.warming() is not None
    assert Columns(kernels.named("plain")).warming() is None


def test_what_is_new_is_done_in_numpy_and_asked_for(ready: Ready) -> None:
    """A book with a second kind of block, and then a table with twice the scenarios."""
    c = Crowd()
    c.settle(people(1, WARM_AT, 6, 0.5))
    for legs in (6, 20):
        c.settle(people(legs, 20, legs))
        work = c.columns.warming()
        assert work is not None
        named = c.columns.suspects(c, c.at)
        assert work() == kernels.installed()[0] == ready.name
        assert not ready.wants
        assert c.columns.suspects(c, c.at) == named
        assert c.columns.warming() is None


def test_a_library_that_does_not_work_is_passed_over_and_named(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    c, named = Crowd(), kernels.named

    def broken(name: str) -> kernels.Kernel:
        if name == "compiled":
            raise ImportError("LLVM is of another make")
        return named(name)

    monkeypatch.setattr(kernels, "named", broken)
    monkeypatch.setattr(kernels, "installed", lambda: ("compiled", "plain"))
    c.settle(people(1, WARM_AT))
    work = c.columns.warming()
    assert work is not None
    assert work() == "plain; compiled does not work here: LLVM is of another make"
    assert c.columns.warming() is None, "tried once"
    assert c.columns.suspects(c, c.at)


def test_what_is_kept_on_disk_is_built_from_its_own_file() -> None:
    """Else a change there would leave the old code here: what is kept is made again when its own file changes."""
    if "compiled" not in kernels.installed():
        pytest.skip("numba is not installed")
    from numba.core.dispatcher import Dispatcher

    compiled = set[Dispatcher]()
    for found in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        module = importlib.import_module(found.name)
        compiled |= {each for each in vars(module).values() if isinstance(each, Dispatcher)}
    assert len(compiled) > 3
    for each in compiled:
        of, told = each.py_func.__module__, each.py_func.__globals__
        calls = [told[name] for name in each.py_func.__code__.co_names if isinstance(told.get(name), Dispatcher)]
        assert all(other.py_func.__module__ == of for other in calls), f"{each.py_func.__name__} of {of}"
