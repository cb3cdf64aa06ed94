"""The unit file says what the keeper does: exit codes, notification, time to stop."""

import configparser
from pathlib import Path

import pytest

from keeper import daemon
from keeper.cli.exit import CODES
from keeper.process.vitals import PULSE

UNIT = Path(__file__).parents[2] / "config" / "ops" / "keeper.service"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


@pytest.mark.fault("C42", "K06")
def test_what_a_machine_must_not_try_again_is_not_restarted(unit: configparser.ConfigParser) -> None:
    prevented = {int(code) for code in unit["Service"]["RestartPreventExitStatus"].split()}
    assert prevented == {2, 3, 4, 7} <= set(CODES)
    assert "must not be restarted by a machine" in CODES[7]
    assert int(unit["Unit"]["StartLimitBurst"]) > 0
    assert (unit["Service"]["LimitCORE"], unit["Service"]["NoNewPrivileges"]) == ("0", "yes")


def test_it_has_time_to_stop_and_is_watched_less_often_than_it_beats(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert seconds(service["TimeoutStopSec"]) > 2 * daemon.GRACE
    assert seconds(service["WatchdogSec"]) / 2 > PULSE


def seconds(written: str) -> float:
    return float(written.removesuffix("s"))
