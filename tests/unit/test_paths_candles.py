"""Recorded candles become prices at block times; gaps stay gaps; bad files are named with line and fix."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keeper.errors import Misconfigured
from keeper.simulation.paths import Follow, candles, worst_fall

HEADER = "open_time_ms,open,high,low,close,volume"
T0 = 1_584_000_000  # seconds; a multiple of 300
RISING, FALLING = "100,104,98,102,7", "102,103,91,92,7"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(*rows: tuple[int, str], header: str = HEADER, name: str = "c.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *(f"{(T0 + at) * 1000},{row}" for at, row in rows)]) + "\n")
        return path

    return file


def test_a_rising_candle_sees_its_low_first(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    assert list(candles([file], T0, 3, 100).prices[:, 0]) == [100.0, 98.0, 104.0]


def test_a_falling_candle_sees_its_high_first(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    assert list(candles([file], T0 + 300, 3, 100).prices[:, 0]) == [102.0, 103.0, 91.0]


def test_between_the_corners_the_price_walks_straight(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    assert candles([file], T0, 2, 50).prices[1, 0] == pytest.approx(99.0)


def test_a_close_is_not_known_before_its_candle_has_ended(write: Write) -> None:
    with_close = [
        candles([write((0, f"100,104,98,{c},7"), (300, RISING))], T0, 100, 2).prices[:, 0] for c in (101, 104)
    ]
    assert np.array_equal(with_close[0], with_close[1])


def test_one_minute_candles_walk_within_a_minute(write: Write) -> None:
    file = write((0, RISING), (60, FALLING))
    assert list(candles([file], T0, 4, 20).prices[:, 0]) == [100.0, 98.0, 104.0, 102.0]


def test_missing_candles_are_an_outage_at_the_last_close(write: Write) -> None:
    file = write((0, RISING), (300, FALLING), (1200, RISING))
    path = candles([file], T0, 15, 100)
    assert list(np.flatnonzero(path.outage)) == [6, 7, 8, 9, 10, 11]
    assert set(path.prices[path.outage, 0]) == {92.0}
    assert path.prices[12, 0] == 100.0


def test_an_outage_of_one_file_is_an_outage_of_the_exchange(write: Write) -> None:
    whole = write(*((at, RISING) for at in range(0, 1200, 300)), name="eth.csv")
    torn = write((0, RISING), (300, RISING), (900, RISING), name="btc.csv")
    assert list(np.flatnonzero(candles([whole, torn], T0, 4, 300).outage)) == [2]


def test_chain_time_can_start_elsewhere_and_run_faster(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    path = candles([file], T0, 3, 2, speed=50, begin=1_900_000_000)
    assert list(path.times) == [1_900_000_000, 1_900_000_002, 1_900_000_004]
    assert list(path.prices[:, 0]) == [100.0, 98.0, 104.0]


def test_a_compressed_file_reads_the_same(write: Write, tmp_path: Path) -> None:
    file = write((0, RISING), (300, FALLING))
    packed = tmp_path / "c.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert np.array_equal(candles([packed], T0, 50, 12).prices, candles([file], T0, 50, 12).prices)


def test_an_underlying_without_a_file_follows_the_first(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    path = candles([file], T0, 50, 12, followers=(8_000.0,), follow=Follow(beta=1.0, noise=0.0))
    assert np.allclose(path.prices[:, 1] / path.prices[:, 0], 80.0)


def test_a_follower_is_reproduced_by_its_seed(write: Write) -> None:
    file = write((0, RISING), (300, FALLING))
    one, two, other = (candles([file], T0, 50, 12, followers=(8_000.0,), seed=s).prices[:, 1] for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_follower_stands_still_in_an_outage(write: Write) -> None:
    file = write((0, RISING), (300, FALLING), (1200, RISING))
    path = candles([file], T0, 150, 10, followers=(8_000.0,))
    assert len(set(path.prices[path.outage, 1])) == 1


GOOD = (0, RISING)


@pytest.mark.parametrize(
    ("rows", "line", "what"),
    [
        ([GOOD, (300, "100,104,98,102")], 3, "5 fields instead of 6"),
        ([GOOD, (300, "100,x,98,102,7")], 3, "could not convert"),
        ([GOOD, (300, "100,101,98,102,7")], 3, "between low and high"),
        ([GOOD, (300, "100,104,101,102,7")], 3, "between low and high"),
        ([GOOD, (300, "0,104,0,102,7")], 3, "above 0"),
        ([GOOD, (300, "100,inf,98,102,7")], 3, "between low and high"),
        ([GOOD, (300, RISING), (300, RISING)], 4, "not later"),
        ([GOOD, (300, RISING), (0, RISING)], 4, "not later"),
        ([GOOD, (300, RISING), (750, RISING)], 4, "off the grid"),
        ([GOOD, (120, RISING)], 2, "120 s apart"),
        ([], 1, "no candles"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong_and_the_fix(
    write: Write, rows: list[tuple[int, str]], line: int, what: str
) -> None:
    with pytest.raises(Misconfigured, match=rf"c\.csv, line {line}: .*{what}") as caught:
        candles([write(*rows)], T0, 1, 12)
    assert caught.value.help


def test_a_strange_header_is_named(write: Write) -> None:
    with pytest.raises(Misconfigured, match=r"line 1: the header is 'time,price'"):
        candles([write(GOOD, header="time,price")], T0, 1, 12)


@pytest.mark.parametrize(
    "content", [None, b"\x1f\x8b\x08 not a gzip", gzip.compress(b"a" * 999, mtime=0)[:-9], b"plain"]
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "eth.csv.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"eth\.csv\.gz: cannot be read"):
        candles([file], T0, 1, 12)


@pytest.mark.parametrize(("start", "steps"), [(T0 - 1, 1), (T0, 51)])
def test_a_path_beyond_the_file_is_refused(write: Write, start: int, steps: int) -> None:
    file = write((0, RISING), (300, FALLING))
    with pytest.raises(Misconfigured, match=r"covers 2020-03-12 08:00:00 to 2020-03-12 08:10:00"):
        candles([file], start, steps, 12)


@pytest.mark.parametrize(("files", "steps"), [(0, 1), (1, 0)])
def test_nothing_to_walk_is_refused(write: Write, files: int, steps: int) -> None:
    with pytest.raises(Misconfigured, match=r"^(0 candle files, 1|1 candle files, 0) blocks"):
        candles([write(GOOD)] * files, T0, steps, 12)


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance-candles"


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded candles are not beside the repository")
def test_the_recorded_crash_of_march_2020_falls_as_measured() -> None:
    day = 1_583_971_200  # 12 March 2020, 00:00 UTC
    eth = candles([RECORDED / "ETHUSDT-5m-2020-02-10_2020-03-31.csv.gz"], day, 8640, 12).prices[:, 0]
    assert worst_fall(eth, 300) == pytest.approx(0.268, abs=0.002)
    assert eth.min() == pytest.approx(86.0, abs=0.5)
