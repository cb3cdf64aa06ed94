"""What a live keeper did in a market that did not wait for it, recorded by itself and by another process, replayed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

import pytest

from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@dataclass
class Run:
    """One live run."""

    own: Path  # recorded by the keeper itself, with its decision log
    beside: Path  # recorded by a process beside it
    config: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("world")
    with crash(folder, 57, rivals=2) as scene:
        asyncio.run(lived(scene, folder / "beside"))
        return Run(folder / "recording", folder / "beside", scene.config)


async def lived(scene: Scene, beside: Path) -> None:
    """Twenty-eight blocks; every fourth comes with three more while the keeper is held up.

    Stopped, because Anvil may answer a call pinned to its newest block with the state of the one it is just mining.
    """
    async with Process("record", "-c", scene.config, "--out", beside) as recorder:
        await recorder.heard("record.began")
        async with Process("run", "-c", scene.config, "--live") as keeper:
            await keeper.heard("turn.done")
            for n in range(16):
                keeper.send(SIGSTOP)
                ref = scene.step(4 if n % 4 == 3 else 1)
                keeper.send(SIGCONT)
                await keeper.heard("turn.done", block=ref.number)
                await recorder.heard("block.recorded", block=ref.number)
            for one in (keeper, recorder):
                one.send(SIGTERM)
                assert await one.ended() == 0


def backtest(recording: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """Exit code and envelope."""
    command = [sys.executable, "-m", "keeper", "backtest", str(recording), "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=recording.parent)
    return done.returncode, json.loads(done.stdout)


def lines(log: Path) -> list[str]:
    """Without the header, which is about the run."""
    return log.read_text().splitlines()[1:]


def test_its_own_recording_replays_to_the_same_decisions_and_receipts(run: Run) -> None:
    code, said = backtest(run.own)
    data = said["data"]
    assert (code, data["blocks"], data["blocks_equal"], data["differs_from"]) == (0, 28, 28, None)
    assert lines(Path(data["decision_log"])) == lines(run.own / "decisions.jsonl")
    assert data["won"] > 3


def test_one_made_beside_it_replays_to_the_same_until_the_keeper_was_held_up(run: Run) -> None:
    """Nobody tells the recorder which blocks were passed over, so a replay decides at them too."""
    code, said = backtest(run.beside)
    data = said["data"]
    passed_over = first(run.beside) + 4
    assert (code, data["blocks"]) == (0, 28)
    assert data["differs_from"] > passed_over
    told, replayed = (before(log, passed_over) for log in (run.own / "decisions.jsonl", Path(data["decision_log"])))
    assert told == replayed != []


def first(recording: Path) -> int:
    return int(json.loads((recording / "manifest.json").read_text())["first"])


def before(log: Path, block: int) -> list[str]:
    return [line for line in lines(log) if json.loads(line)["block"] < block]
