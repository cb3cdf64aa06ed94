"""Options of protocols and strategies, as their own dataclasses: what people write, and where they are wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest

from keeper.protocols.morpho_blue import settings as morpho
from keeper.protocols.morpho_blue.maths import Irm
from keeper.protocols.options import settings as options
from keeper.settings import Settings, Unusable, load
from keeper.settings.bind import UNITS, bind
from keeper.units import Money, wad
from strategies.dutch import Dutch

A = "0x52908400098527886E0F7030069857D2E4169EE7"
B = "0xBBBBBbbBBb9cC5e90e3b3Af64bdAF62C37EEFFCb"
A_, B_ = bytes.fromhex(A[2:]), bytes.fromhex(B[2:])

TEXT = f"""\
[chains.anvil]
id = 31337
rpc = "http://127.0.0.1:8545"

[protocols.options]
chain = "anvil"
adapter = "options"
account = "{A}/3"
desk = "{A}"
reserve = "$5_000"
tip = "1.5 gwei"
tolerance = "2 %"
reverts = "50 bps"
inventory = [0, 10_000_000_000_000_000_000]

[protocols.options.contracts]
clearing = "{A}"
liquidator = "{A}"
oracle = "{A}"
params = "{B}"
tokens = ["{A}", "{B}"]
pools = []
since = 7

[strategies.dutch]
use = "strategies.dutch:Dutch"
protocols = ["options"]
options = {{ min_profit = "$40", patience = "0.5" }}
"""


def loaded(folder: Path, text: str = TEXT) -> Settings:
    (folder / "k.toml").write_text(text)
    return load([folder / "k.toml"], environ={})


def refused(folder: Path, old: str, new: str) -> Unusable:
    assert old in TEXT
    with pytest.raises(Unusable) as caught:
        loaded(folder, TEXT.replace(old, new)).bind(options.Settings, "protocols", "options")
    return caught.value


# ─── the real ones ────────────────────────────────────────────────────────────────────────────────


def test_the_options_adapter_gets_its_settings(tmp_path: Path) -> None:
    assert loaded(tmp_path).bind(options.Settings, "protocols", "options") == options.Settings(
        contracts=options.Contracts(A_, A_, A_, B_, tokens=(A_, B_), pools=(), since=7),
        account=3 << 160 | int(A, 16),
        desk=A_,
        tip=1_500_000_000,
        reserve=wad(5000),
        inventory=(0, 10**19),
        reverts=wad("0.005"),
        tolerance=wad("0.02"),
    )


def test_the_morpho_adapter_gets_its_settings() -> None:
    table = {
        "morpho": B,
        "desk": A,
        "markets": ["0x" + "ab" * 32],
        "tokens": {A: {"usd": "$0.99", "decimals": 6, "symbol": "USD"}},
        "irms": {B: "utilisation"},
        "coin_usd": "$3000",
        "haircut": "0.3 %",
        "window": "2m",
    }
    assert bind(morpho.Settings, table) == morpho.Settings(
        morpho=B_,
        desk=A_,
        markets=("0x" + "ab" * 32,),
        tokens={A_: morpho.Token(wad("0.99"), 6, "USD")},
        irms={B_: Irm.UTILISATION},
        coin_usd=wad(3000),
        haircut=30,
        window=120,
    )


def test_a_strategy_gets_its_options(tmp_path: Path) -> None:
    assert loaded(tmp_path).bind(Dutch, "strategies", "dutch") == Dutch(min_profit=wad(40), patience=wad("0.5"))


def test_without_options_a_strategy_has_its_own_defaults() -> None:
    assert bind(Dutch, {}) == Dutch()


CONFIG = Path(__file__).parents[2] / "config"
ADDRESSES = [
    *(f"protocols.options.contracts.{name}={A}" for name in ("clearing", "liquidator", "oracle", "params")),
    f'protocols.options.contracts.tokens=["{A}", "{B}"]',
    f'protocols.options.contracts.pools=["{A}"]',
    f"protocols.options.account={A}/0",
    f"protocols.options.desk={A}",
]


def test_the_shipped_options_section_states_every_default_as_it_is() -> None:
    contracts = options.Contracts(A_, A_, A_, A_, tokens=(A_, B_), pools=(A_,))
    settings = load([CONFIG / "anvil.toml"], ADDRESSES, {})
    assert settings.bind(options.Settings, "protocols", "options") == options.Settings(contracts, int(A, 16), A_)
    assert {one.name for one in fields(options.Settings)} <= {*settings.protocols["options"].options}


def test_the_shipped_morpho_section_needs_only_a_desk() -> None:
    settings = load([CONFIG / "keeper.toml"], [f"protocols.morpho.desk={A}"], {})
    bound = settings.bind(morpho.Settings, "protocols", "morpho")
    defaults = {one.name: one.default for one in fields(bound) if one.name in ("haircut", "window")}
    assert {name: getattr(bound, name) for name in defaults} == defaults


def test_the_feeds_in_the_shipped_morpho_section_can_be_written_so(tmp_path: Path) -> None:
    text = (CONFIG / "keeper.toml").read_text().replace("# [protocols.morpho.feeds]", "[protocols.morpho.feeds]")
    line = next(one for one in text.splitlines() if "heartbeat" in one and one.startswith('# "0x…"'))
    (tmp_path / "k.toml").write_text(text.replace(line, line.removeprefix("# ").replace("0x…", A)))
    settings = load([tmp_path / "k.toml"], [f"protocols.morpho.desk={A}"], {})
    feed = morpho.Feed(wad("0.005"), 3_600, A_, (18, 6))
    assert settings.bind(morpho.Settings, "protocols", "morpho").feeds == {A_: feed}


@pytest.mark.parametrize("file", ["anvil.toml", "keeper.toml"])
def test_the_shipped_strategies_are_there_and_state_every_default_as_it_is(file: str) -> None:
    settings = load([CONFIG / file], environ={})
    for name, strategy in settings.strategies.items():
        module, _, cls = strategy.use.partition(":")
        kind = getattr(import_module(module), cls)
        assert settings.bind(kind, "strategies", name) == kind()


# ─── what is wrong ────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_key_in_a_nested_table_is_located_with_a_suggestion(tmp_path: Path) -> None:
    assert str(refused(tmp_path, "liquidator =", "liqidator =")).replace(str(tmp_path), "config") == (
        'error KC102: unknown key "liqidator" in [protocols.options.contracts]\n'
        "  config/k.toml:18:1\n"
        f'  18 | liqidator = "{A}"\n'
        '     | ^^^^^^^^^ did you mean "liquidator"?\n'
        "  help: known here: clearing, liquidator, oracle, params, pools, quotes, sealed, since, tokens, waterfall"
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (f'account = "{A}/3"', "account = 3", 8, "account needs text in quotes"),
        ('reserve = "$5_000"', "reserve = 5000", 10, "reserve needs a quoted dollar amount with its unit"),
        ('tip = "1.5 gwei"', 'tip = "$1"', 11, "tip has an unknown unit"),
        (f'["{A}", "{B}"]', f'["{A}", "0x12"]', 21, "tokens[1] needs an address"),
        ("pools = []", "pools = 3", 22, "pools needs a list in brackets"),
        ("[protocols.options.contracts]", "[protocols.options.contract]", 16, 'unknown key "contract"'),
        ("pools = []\n", "", 16, 'needs "pools"'),
    ],
)
def test_is_refused_with_a_place(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    (problem,) = refused(tmp_path, old, new).problems
    assert said in problem.message
    assert problem.place and problem.place.line == line


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, 'reserve = "$5_000"\ntip = "1.5 gwei"', "reserve = 1\ntip = 1\ntipp = 1")
    assert [problem.place.line for problem in error.problems if problem.place] == [10, 11, 12]


def test_what_a_class_refuses_is_located_too(tmp_path: Path) -> None:
    @dataclass
    class Picky:
        def __post_init__(self) -> None:
            raise ValueError("needs more than this")

    settings = loaded(tmp_path, TEXT.replace('{ min_profit = "$40", patience = "0.5" }', "{}"))
    with pytest.raises(Unusable, match=r"KC103: \[strategies.dutch.options\] needs more(?s:.*)k\.toml:28"):
        settings.bind(Picky, "strategies", "dutch")


# ─── every unit ───────────────────────────────────────────────────────────────────────────────────


def one(unit: str, written: object, kind: Any = int) -> Any:
    """What a field of this unit makes of what was written."""
    namespace = {"__annotations__": {"x": Annotated[kind, unit] if unit else kind}, "x": 0}
    cls: Any = dataclass(type("One", (), namespace))
    return bind(cls, {"x": written}).x


class Colour(StrEnum):
    RED = "red"


GOOD: list[tuple[str, Any, object, object]] = [
    ("money", int, "$2.50", wad("2.5")),
    ("coin", int, "80 gwei", 80 * 10**9),
    ("share", int, "2 %", wad("0.02")),
    ("share", int, "50 bps", wad("0.005")),
    ("share", int, "0.02", wad("0.02")),
    ("bps", int, "2 %", 200),
    ("duration", int, "250ms", 250),
    ("seconds", int, "2m", 120),
    ("count", int, 3, 3),
    ("address", bytes, A, A_),
    ("address", bytes, B.lower(), B_),
    ("account", int, f"{A}/0", int(A, 16)),
    ("account", int, A, int(A, 16)),
    ("account", int, "0x1" + "0" * 40, 1 << 160),
    ("", tuple[Money, ...], ["$1", "$2"], (wad(1), wad(2))),
    ("", int, -3, -3),
    ("", str, "x", "x"),
    ("", bool, True, True),
    ("", Colour, "red", Colour.RED),
    ("", Mapping[str, int], {"a": 1}, {"a": 1}),
]


def test_every_unit_is_tried() -> None:
    assert {unit for unit, *_ in GOOD} == {*UNITS, ""}


@pytest.mark.parametrize(("unit", "kind", "written", "meant"), GOOD)
def test_means_exactly(unit: str, kind: Any, written: object, meant: object) -> None:
    assert one(unit, written, kind) == meant


@pytest.mark.fault("F03")
@pytest.mark.parametrize(
    ("unit", "kind", "written", "said"),
    [
        ("share", int, "2", "x has no unit"),
        ("share", int, "20000000000000000", "x has no unit"),
        ("seconds", int, "250ms", "x must be whole seconds"),
        ("count", int, -1, "x must not be negative"),
        ("count", int, True, "x needs a whole number"),
        ("address", bytes, B.replace("Bb", "bB", 1), "x has a wrong checksum"),
        ("address", bytes, A[:-1], "x needs an address"),
        ("address", bytes, int(A, 16), "x needs an address"),
        ("account", int, f"{A}/-1", "x needs an account"),
        ("account", int, f"{A[:-1]}/1", "x needs an address"),
        ("", str, 1, "x needs text in quotes"),
        ("", bool, 1, "x needs true or false"),
        ("", Colour, "blue", 'x must be one of "red"'),
        ("", Mapping[str, int], 1, "x needs a table"),
        ("", Mapping[bytes, int], {"a": 1}, "x.a needs an address"),
    ],
)
def test_is_refused(unit: str, kind: Any, written: object, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        one(unit, written, kind)


@pytest.mark.parametrize(("unit", "kind"), [("dollars", int), ("", float)])
def test_a_field_that_cannot_be_configured_is_the_fault_of_its_class(unit: str, kind: Any) -> None:
    with pytest.raises(TypeError, match="cannot be configured"):
        one(unit, "1", kind)
