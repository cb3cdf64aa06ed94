"""The command line: verbs, flags, exit codes, errors, and how little ``--help`` loads."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from keeper import __version__, errors
from keeper.cli import exit, setup
from keeper.cli.app import main
from keeper.cli.parser import parse
from keeper.cli.verbs import VERBS, fork
from keeper.observe import logging
from keeper.settings import load
from tests.unit import logs

HEAVY = {"asyncio", "numpy", "pydantic", "web3", "eth_account", "aiohttp", "structlog", "dataclasses", "inspect"}


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[argparse.Namespace], int]], None]:
    """Puts a body in the place of ``keeper run``."""

    def install(body: Callable[[argparse.Namespace], int]) -> None:
        module = ModuleType("keeper.cli.run")
        module.run = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "keeper.cli.run", module)

    return install


Install = Callable[[Callable[[argparse.Namespace], int]], None]


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def body(_args: argparse.Namespace) -> int:
        raise error

    return body


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    with logs.restored():
        yield


# ─── start-up ─────────────────────────────────────────────────────────────────────────────────────


def loaded_by(*argv: str) -> set[str]:
    code = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from keeper.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return set(done.stderr.split())


@pytest.mark.parametrize("argv", [("--help",), ("run", "--help"), ("--version",), ("version",), ("nonsuch",)])
def test_what_needs_nothing_loads_nothing_heavy(argv: tuple[str, ...]) -> None:
    modules = loaded_by(*argv)
    assert "keeper.cli.parser" in modules
    assert modules & HEAVY == set()


def test_checking_settings_loads_no_chain_library() -> None:
    modules = loaded_by("config", "check", "-c", "missing.toml")
    assert "pydantic" in modules
    assert modules & {"web3", "eth_account", "eth_hash", "aiohttp", "numpy"} == set()


# ─── finding the verb ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "argv",
    ["-c a -c b run --once", "-c a run --once -c b", "run --config=a -cb --once", "-vv --set x=1 -c a run -c b --once"],
)
def test_common_flags_stand_before_or_after_the_verb(argv: str) -> None:
    args = parse(argv.split())
    assert (args.verb, args.config, args.once) == ("run", ["a", "b"], True)


def test_an_unknown_verb_suggests_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["confg"]) == 2
    assert capsys.readouterr().err == 'error KE402: unknown verb "confg"\n  help: did you mean "keeper config"?\n'


def test_a_verb_that_is_near_nothing_gets_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsuch"]) == 2
    assert f"verbs: {', '.join(VERBS)}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        *("", "-q", "--nonsuch", "run --nonsuch", "run --blocks 0", "run --onc", "config", "config chek", "explain"),
        *("demo --rivals -1", "demo --accounts 0", "world --pace nan", "world --pace 0"),
    ],
)
def test_a_wrong_command_line_ends_with_2(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error KE402: ") and not captured.out


def test_help_groups_the_verbs_with_one_example_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"\n{verb.group}:\n" in shown and f"$ {verb.example}\n" in shown for verb in VERBS.values())


@pytest.mark.parametrize("name", VERBS)
def test_the_example_of_a_verb_parses(name: str) -> None:
    assert parse(VERBS[name].example.split()[1:]).verb == name


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("http://127.0.0.1:8545", ("http://127.0.0.1:8545", None)),
        ("${RPC}@24000000", ("${RPC}", 24_000_000)),
        ("https://user@node.example", ("https://user@node.example", None)),
    ],
)
def test_a_fork_is_a_url_and_perhaps_a_block(text: str, split: tuple[str, int | None]) -> None:
    assert fork(text) == split


# ─── exit codes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exit.Usage("x"), 2),
        (errors.Misconfigured("x"), 3),
        (errors.SecretUnusable("x"), 4),
        (errors.ChainLost("x"), 5),
        (errors.WrongChain("x"), 5),
        (errors.NodeUnavailable("x"), 5),
        (errors.CheckFailed("x"), 6),
        (errors.RiskHalt("x"), 7),
        (errors.NotFound("x"), 8),
        (TimeoutError("x"), 9),
        (KeyboardInterrupt(), 130),
        (errors.Broken("x"), 1),
        (errors.Reverted("x"), 1),
        (ZeroDivisionError("x"), 1),
        (ExceptionGroup("x", [errors.ChainLost("x"), ExceptionGroup("y", [errors.RiskHalt("x")])]), 7),
        (ExceptionGroup("x", [errors.ChainLost("x"), ZeroDivisionError("x")]), 1),
    ],
)
def test_an_error_has_its_exit_code(
    verb: Install, error: BaseException, code: int, capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    verb(raising(error))
    assert main(["run"]) == code
    assert code in exit.CODES and "error K" in capsys.readouterr().err


def test_the_code_of_a_verb_is_passed_on(verb: Install) -> None:
    verb(lambda _: 6)
    assert main(["run"]) == 6


def test_every_stop_has_a_documented_exit_code() -> None:
    stops = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Stop)]
    assert {kind.exit_code for kind in stops} <= set(exit.CODES)


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        command = [sys.executable, "-m", "keeper", "version"]
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, timeout=30, check=False, env=buffered)
    assert (done.returncode, done.stderr) == (0, b"")


GRACE = """
import signal, sys
from keeper.cli.exit import on_first_signal
stopped = []
on_first_signal(lambda: stopped.append(1))
signal.raise_signal(signal.{number})
print(len(stopped), flush=True)
if len(sys.argv) > 1:
    signal.raise_signal(signal.{number})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_graceful(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GRACE.format(number=number.name)], capture_output=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == (b"1\n", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GRACE.format(number=number.name), "again"], capture_output=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == (b"1\n", -number)


# ─── incidents ────────────────────────────────────────────────────────────────────────────────────


def test_a_terminal_gets_an_incident_but_no_traceback(
    verb: Install, capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    verb(raising(ZeroDivisionError("by nothing")))
    main(["run", "--log-format", "console"])
    shown = capsys.readouterr().err
    assert "error KE401: internal error " in shown and "ZeroDivisionError: by nothing" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("flags", [["-v", "--log-format", "console"], ["--log-format", "json"]])
def test_the_log_gets_the_traceback_with_the_same_incident(
    verb: Install, flags: list[str], capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    verb(raising(ZeroDivisionError("by nothing")))
    main(["run", *flags])
    shown = capsys.readouterr().err
    incident = shown.rpartition("internal error ")[2][:8]
    assert "Traceback" in shown and shown.count(incident) == 2


def test_an_incident_is_logged_as_the_verb_chose(
    verb: Install, capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    def body(_args: argparse.Namespace) -> int:
        logging.setup("json")
        raise ZeroDivisionError

    verb(body)
    main(["run", "--log-format", "console"])
    assert '"exception": "Traceback' in capsys.readouterr().err


def test_an_incident_shows_no_secret(verb: Install, capsys: pytest.CaptureFixture[str], quiet_logs: None) -> None:
    verb(raising(ZeroDivisionError("https://node.example/v2/SECRETCANARY0123456789?k=SECRETCANARY")))
    main(["run", "-vv"])
    captured = capsys.readouterr()
    assert "node.example" in captured.err and "CANARY" not in captured.err + captured.out


# ─── JSON ─────────────────────────────────────────────────────────────────────────────────────────


def envelope(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_result_comes_in_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    content = envelope(capsys)
    assert content["data"].pop("keeper") == __version__ and content.pop("data")
    assert content == {"ok": True, "schema": "keeper.version/1", "warnings": []}


@pytest.mark.parametrize(
    ("argv", "schema", "code"),
    [
        ("nonsuch --json", "keeper/1", 2),
        ("--json", "keeper/1", 2),
        ("config check --json -c missing.toml", "keeper.config.check/1", 3),
        ("run --json", "keeper.run/1", 1),
    ],
)
def test_an_error_comes_in_the_envelope(
    verb: Install, argv: str, schema: str, code: int, capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    verb(raising(ZeroDivisionError()))
    assert main(argv.split()) == code
    content = envelope(capsys)
    assert (content["ok"], content["schema"], content["error"]["exit"]) == (False, schema, code)


def test_every_problem_of_the_settings_is_in_the_envelope(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.write_text("[risk]\nmin_proffit = 1\n[rsk]\n")
    main(["config", "check", "--json", "-c", str(file)])
    problems = envelope(capsys)["error"]["problems"]
    assert [(one["code"], one["at"]) for one in problems] == [("KC102", f"{file}:2:1"), ("KC102", f"{file}:3:2")]


# ─── config ───────────────────────────────────────────────────────────────────────────────────────


def test_config_check_says_ok(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINNET_RPC", "http://127.0.0.1:1")
    desk = f"protocols.morpho.desk=0x{'a1' * 20}"
    assert main(["config", "check", "-c", "config/keeper.toml", "--set", desk]) == 0
    assert capsys.readouterr().out.startswith("ok: mode dry, chains 1, ")


def test_config_check_misses_what_a_run_would_miss(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.touch()
    assert main(["config", "check", "-c", str(file)]) == 3
    assert "no protocol is configured" in capsys.readouterr().err


def test_config_check_without_a_file_looks_where_it_should_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "check"]) == 3
    assert "KC101: no configuration file config/keeper.toml" in capsys.readouterr().err


def test_config_show_names_the_origin_of_every_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPER__RISK__MIN_PROFIT", "$7")
    file = tmp_path / "k.toml"
    file.write_text("[keeper]\nname = 'desk'\n[risk]\nmin_profit = '$6'")
    main(["config", "show", "--origin", "-c", str(file), "--state-dir", "elsewhere"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["keeper.name", "desk", f"{file}:2", ""] in rows
    assert ["risk.min_profit", "$7", "environment KEEPER__RISK__MIN_PROFIT", f"{file}:4"] in rows
    assert ["keeper.state", "elsewhere", "command line keeper.state", ""] in rows
    assert ["log.level", "info", "default", ""] in rows


# ─── the two keys to live ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mode", "flag", "missing"), [("live", "", "--live was not given"), ("dry", "--live", 'mode is "dry"')]
)
def test_one_key_alone_is_refused_and_the_other_is_named(tmp_path: Path, mode: str, flag: str, missing: str) -> None:
    with pytest.raises(errors.Misconfigured, match=missing):
        setup.armed(parse(["run", *flag.split()]), settings(tmp_path, mode))


@pytest.mark.parametrize(("mode", "flag", "armed"), [("live", "--live", True), ("dry", "", False)])
def test_two_keys_arm_and_none_does_not(tmp_path: Path, mode: str, flag: str, armed: bool) -> None:
    assert setup.armed(parse(["run", *flag.split()]), settings(tmp_path, mode)) is armed


def settings(folder: Path, mode: str) -> Any:
    keystore = folder / "key.json"
    keystore.touch()
    signer = f'[signers.main]\nkeystore = "{keystore}"\npassword = {{ prompt = true }}'
    (folder / "k.toml").write_text(f'{signer}\n[keeper]\nmode = "{mode}"')
    return load([folder / "k.toml"], environ={})
