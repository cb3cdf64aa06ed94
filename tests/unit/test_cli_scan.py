"""``keeper scan`` says whom it can say nothing about."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from keeper.cli import scan
from keeper.cli.looking import Seen
from keeper.model import Key
from keeper.protocols.options.records import Account, Leg, smile_key
from keeper.settings import Settings
from keeper.units import WAD
from tests.worlds.crowd import NOW, Crowd, series

GOOD, BAD = 10**40, 10**41


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """One account that is well, and one with an option whose expiry has no smile any more."""
    c = Crowd()
    c.settle([(GOOD, Account(10_000 * WAD, (Leg(series(0, 7, True, 100), -WAD),), (), 1))])
    c.settle([(BAD, Account(10_000 * WAD, (Leg(series(1, 3, True, 88), -WAD),), (), 1))])
    c.records.pop(smile_key(1, NOW + 3 * 86_400))
    book = SimpleNamespace(columns=c.columns, get=c.get, keys=c.keys, ref=c.ref)
    desk = SimpleNamespace(name="options", adapter=SimpleNamespace(name="options"), book=book)
    kernel = SimpleNamespace(desks=[desk], moment=lambda: c.at, ref=c.ref)

    @asynccontextmanager
    async def looked(settings: Settings) -> AsyncIterator[tuple[Any, Seen]]:
        yield SimpleNamespace(kernel=kernel), Seen()

    monkeypatch.setattr(scan, "looked", looked)


@pytest.mark.parametrize("json_", [True, False])
async def test_accounts_that_cannot_be_valued_are_named(
    world: None, capsys: pytest.CaptureFixture[str], json_: bool
) -> None:
    args = argparse.Namespace(json=json_, verb="scan", next=False, limit=None)
    assert await scan._scan(args, cast(Settings, None)) == 0
    out, err = capsys.readouterr()
    if json_:
        said = json.loads(out)
        [row] = said["data"]["unvalued"]
        assert (row["account"], row["why"]) == (f"0x{BAD:x}", "price_unknown")
        assert "has no smile" in row["detail"]
        assert [row["account"] for row in said["data"]["accounts"]] == [f"0x{GOOD:x}"]
    else:
        assert f"0x{BAD:x} cannot be valued" in err
        assert f"0x{GOOD:x}" in out


async def test_next_lists_borrowers_by_the_fall_that_they_can_bear(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without volatilities there is no time and no sigma; those under water already are first."""
    ratios = [(Key("position", 7), 1.25), (Key("position", 8), 0.5), (Key("position", 9), 1.0)]
    columns = SimpleNamespace(nearest=lambda *_: ratios, refused=lambda *_: {})
    desk = SimpleNamespace(name="morpho_blue", adapter=SimpleNamespace(name="morpho_blue"))
    desk.book, desk.coming = SimpleNamespace(columns=columns), ()
    kernel = SimpleNamespace(desks=[desk], moment=lambda: None, ref=SimpleNamespace(number=5))

    @asynccontextmanager
    async def looked(settings: Settings) -> AsyncIterator[tuple[Any, Seen]]:
        yield SimpleNamespace(kernel=kernel), Seen()

    monkeypatch.setattr(scan, "looked", looked)
    args = argparse.Namespace(json=True, verb="scan", next=True, limit=None)
    assert await scan._scan(args, cast(Settings, None)) == 0
    rows = json.loads(capsys.readouterr().out)["data"]["accounts"]
    assert [(row["account"], row["falls"]) for row in rows] == [
        ("0x8", 0.0),
        ("0x9", 0.0),
        ("0x7", pytest.approx(-0.2)),
    ]
    assert all(row["day"] is None and row["sigmas"] is None for row in rows)
    args.json = False
    assert await scan._scan(args, cast(Settings, None)) == 0
    out, err = capsys.readouterr()
    assert "-20.00%" in out and "no volatilities" in err
