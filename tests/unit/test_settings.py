"""Settings: who wins, what is refused, and where the error says it is."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from keeper.settings import Risk, Settings, Unusable, load
from keeper.settings.located import CODES

KEEPERS = Path(__file__).parents[2] / "config"

GOOD = """\
[chains.anvil]
id = 31337
rpc = "http://127.0.0.1:8545"

[protocols.options]
chain = "anvil"
adapter = "options"
contracts = { clearing = "0x01" }
since = 7

[strategies.dutch]
use = "strategies.dutch:Dutch"
protocols = ["options"]
"""


class Desk:
    """A folder of configuration files, and what load makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, *texts: str, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Settings:
        files = [self.folder / f"{number}.toml" for number, _ in enumerate(texts)]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        return load(files, sets, environ or {})

    def refused(self, *texts: str, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Unusable:
        with pytest.raises(Unusable) as caught:
            self.load(*texts, sets=sets, environ=environ)
        return caught.value


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def codes(error: Unusable) -> list[str]:
    return [problem.code for problem in error.problems]


# ─── who wins ─────────────────────────────────────────────────────────────────────────────────────


def test_defaults_are_exact_integers(desk: Desk) -> None:
    settings = desk.load()
    assert (settings.risk.max_gas_price, settings.risk.min_profit) == (200 * 10**9, 5 * 10**18)


def test_dry_is_the_default(desk: Desk) -> None:
    assert desk.load(GOOD).keeper.mode == "dry"


LATER = "[risk]\nmax_inflight = 2"
VARIABLE = {"KEEPER__RISK__MAX_INFLIGHT": "3"}


@pytest.mark.parametrize(
    ("files", "sets", "environ", "winner"),
    [
        ([], [], {}, 4),
        (["[risk]\nmax_inflight = 1"], [], {}, 1),
        (["[risk]\nmax_inflight = 1", LATER], [], {}, 2),
        ([LATER], [], VARIABLE, 3),
        ([LATER], ["risk.max_inflight=5"], VARIABLE, 5),
    ],
)
def test_the_stronger_source_wins(
    desk: Desk, files: list[str], sets: list[str], environ: dict[str, str], winner: int
) -> None:
    assert desk.load(*files, sets=sets, environ=environ).risk.max_inflight == winner


def test_origin_names_the_winner_and_the_losers(desk: Desk) -> None:
    settings = desk.load(LATER, sets=["risk.max_inflight=5"], environ=VARIABLE)
    assert settings.origin["risk.max_inflight"] == (
        "command line risk.max_inflight",
        "environment KEEPER__RISK__MAX_INFLIGHT",
        f"{desk.folder}/0.toml:2",
    )


def test_a_later_file_adds_to_a_table(desk: Desk) -> None:
    later = "[protocols.options.contracts]\nrisk = '0x02'"
    assert desk.load(GOOD, later).protocols["options"].options["contracts"] == {"clearing": "0x01", "risk": "0x02"}


def test_environment_finds_names_with_hyphens_and_capitals(desk: Desk) -> None:
    text = GOOD.replace("anvil", "My-Chain")
    environ = {"KEEPER__CHAINS__MY_CHAIN__BLOCK_TIME": "2s"}
    assert desk.load(text, environ=environ).chains["My-Chain"].block_time == 2000


@pytest.mark.parametrize("written", ["0x52908400098527886E0F7030069857D2E4169EE7", "2026-01-01", "plain"])
def test_an_override_that_is_no_toml_value_is_text(desk: Desk, written: str) -> None:
    settings = desk.load(GOOD, sets=[f"protocols.options.account={written}"])
    assert settings.protocols["options"].options["account"] == written


def test_the_library_reads_nothing_by_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK", '{"max_inflight": 9}')
    assert desk.load().risk.max_inflight == 4


def test_an_override_may_be_a_list(desk: Desk) -> None:
    assert desk.load(GOOD, sets=["strategies.dutch.protocols=[]"]).strategies["dutch"].protocols == ()


# ─── what is wrong ────────────────────────────────────────────────────────────────────────────────

THREE = """\
[risk]
min_proffit = "$25"
max_inflight = "three"

[rsk]
x = 1
"""


def test_three_mistakes_are_three_located_errors(desk: Desk) -> None:
    error = desk.refused(THREE)
    assert str(error).replace(str(desk.folder), "config") == (
        'error KC102: unknown key "min_proffit" in [risk]\n'
        "  config/0.toml:2:1\n"
        '  2 | min_proffit = "$25"\n'
        '    | ^^^^^^^^^^^ did you mean "min_profit"?\n'
        f"  help: known here: {', '.join(sorted(Risk.model_fields))}\n"
        "\n"
        "error KC103: risk.max_inflight needs a whole number\n"
        "  config/0.toml:3:16\n"
        '  3 | max_inflight = "three"\n'
        "    |                ^^^^^^^\n"
        "\n"
        'error KC102: unknown section "rsk"\n'
        "  config/0.toml:5:2\n"
        "  5 | [rsk]\n"
        '    |  ^^^ did you mean "risk"?\n'
        "  help: known here: chains, ha, http, keeper, log, protocols, record, relay, risk, schema, "
        "signers, strategies, tx"
    )


@pytest.mark.fault("F02")
def test_an_unknown_variable_is_an_error(desk: Desk) -> None:
    error = desk.refused(environ={"KEEPER__RSK__X": "1"})
    assert str(error).startswith(
        'error KC102: unknown section "rsk"\n  environment\n   | KEEPER__RSK__X\n'
        '   | ^^^^^^^^^^^^^^ did you mean "risk"?\n'
    )


@pytest.mark.fault("F02")
@pytest.mark.parametrize("name", ["KEEPER_RISK__RESERVE", "keeper__risk__reserve", "Keeper__Risk__Reserve"])
def test_a_variable_that_is_almost_ours_is_an_error(desk: Desk, name: str) -> None:
    assert 'did you mean "KEEPER__RISK__RESERVE"?' in str(desk.refused(environ={name: "$4"}))


@pytest.mark.fault("F02")
@pytest.mark.parametrize("name", ["KEEPER_PASSWORD", "KEEPER_PORT_8545_TCP", "OTHER__RISK"])
def test_a_variable_that_is_not_ours_is_left_alone(desk: Desk, name: str) -> None:
    assert desk.load(environ={name: "1"}).origin == {}


@pytest.mark.fault("F01")
@pytest.mark.parametrize(
    ("sets", "environ", "place"),
    [
        (['risk={min_proffit="$5"}'], {}, '   | --set risk={min_proffit="$5"}\n   |       ^^^^ did'),
        ([], {"KEEPER__RISK": '{min_proffit="$5"}'}, "   | KEEPER__RISK\n   | ^^^^^^^^^^^^ did"),
    ],
)
def test_an_unknown_key_inside_a_value_is_an_error(
    desk: Desk, sets: list[str], environ: dict[str, str], place: str
) -> None:
    (problem,) = desk.refused("[risk]", sets=sets, environ=environ).problems
    assert problem.hint == 'did you mean "min_profit"?' and place in problem.render()


def test_a_list_on_the_command_line_is_checked_instead_of_the_one_it_replaces(desk: Desk) -> None:
    error = desk.refused(GOOD, sets=['strategies.dutch.protocols=["optoins"]'])
    assert "there is no [protocols.optoins]\n  command line" in str(error)


def test_an_unknown_override_is_an_error(desk: Desk) -> None:
    assert 'error KC102: unknown key "reserv" in [risk]\n  command line\n   | --set risk.reserv=$4' in str(
        desk.refused(sets=["risk.reserv=$4"])
    )


@pytest.mark.parametrize("text", ["risk.max_inflight", "=1", "a b=1", "risk=\n1"])
def test_an_override_needs_key_and_value(desk: Desk, text: str) -> None:
    assert codes(desk.refused(sets=[text])) == ["KC110"]


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"(?s)no configuration file .*a\.toml.*no configuration file .*b\.toml"):
        load([tmp_path / "a.toml", tmp_path / "b.toml"], environ={})


@pytest.mark.parametrize(
    ("text", "place"),
    [("[risk]\nmin_profit $5", "0.toml:2:12"), ("[risk\nx = 1", "0.toml:1:6"), ("a = 1\na = 2", "0.toml:2:6")],
)
def test_broken_toml_is_located(desk: Desk, text: str, place: str) -> None:
    error = desk.refused(text)
    assert codes(error) == ["KC105"] and place in str(error)


def broken(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.fault("F01")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id = 31337\n", "", '[chains.anvil] needs "id"'),
        ("id = 31337", "id = 0", "chains.anvil.id must be greater than 0"),
        ("id = 31337", "id = '1'", "chains.anvil.id needs a whole number"),
        ("id = 31337", "id = 31337\nmax_head_age = '12s'", "max_head_age must exceed block_time"),
        ('adapter = "options"', 'adaptor = "options"', '[protocols.options] needs "adapter"'),
        ('chain = "anvil"', 'chain = "anvli"', "there is no [chains.anvli]"),
        ('["options"]', '["options", "option"]', "strategies.dutch.protocols[1]: there is no [protocols.option]"),
        ('["options"]', '"options"', "strategies.dutch.protocols needs a list in brackets"),
        ("strategies.dutch:Dutch", "strategies.dutch", "use needs module:Class"),
        ("[chains.anvil]", "[keeper]\nmode = 'lvie'\n[chains.anvil]", 'mode must be "dry" or "live"'),
        ("[chains.anvil]", "schema = 2\n[chains.anvil]", "schema must be 1"),
        ("[chains.anvil]", "chains = 5\n[x]", "chains needs a table"),
        ("http://127.0.0.1:8545", "127.0.0.1:8545", "rpc is neither"),
    ],
)
def test_is_refused_with_a_place(desk: Desk, old: str, new: str, said: str) -> None:
    error = desk.refused(broken(GOOD, old, new))
    assert said in str(error)
    assert all(problem.place and problem.place.line for problem in error.problems)


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ('adapter = "options"', 'adaptor = "options"', 'did you mean "adapter"?'),
        ('chain = "anvil"', 'chain = "anvli"', 'did you mean "anvil"?'),
        ("id = 31337", "idd = 31337", 'did you mean "id"?'),
        ("[chains.anvil]", "[keeper]\nmode = 'lvie'\n[chains.anvil]", 'did you mean "live"?'),
    ],
)
def test_a_near_miss_is_one_error_with_a_suggestion(desk: Desk, old: str, new: str, hint: str) -> None:
    (problem,) = desk.refused(broken(GOOD, old, new)).problems
    assert problem.hint == hint


def test_problems_come_in_the_order_of_the_file(desk: Desk) -> None:
    error = desk.refused("[log]\nlevel = 1\n[chains.x]\nid = 1\nrpc = 5\n[protocols.p]\nchain = 'y'\nadapter = 'a'")
    assert [problem.place.line for problem in error.problems if problem.place] == [2, 5, 7]


def test_every_code_is_documented_once() -> None:
    source = "".join(file.read_text() for file in Path(load.__code__.co_filename).parent.glob("*.py"))
    assert set(re.findall(r'Problem\(\s*"(KC\d+)"', source)) == set(CODES)


def test_an_adapter_can_point_at_its_own_option(desk: Desk) -> None:
    fault = desk.load(GOOD).fault(("protocols", "options", "contracts", "clearing"), "clearing is no address")
    assert "0.toml:8:26\n  8 | contracts = {" in str(fault)


# ─── going live ───────────────────────────────────────────────────────────────────────────────────

LIVE = GOOD + '[keeper]\nmode = "live"\n'
SIGNER = '[signers.main]\nkeystore = "{}"\npassword = {{ prompt = true }}\n'


def test_live_needs_a_signer(desk: Desk) -> None:
    assert "at least one [signers.…], and there is none" in str(desk.refused(LIVE))


def test_live_needs_the_keystore_to_be_there(desk: Desk) -> None:
    assert codes(desk.refused(LIVE + SIGNER.format(desk.folder / "none"))) == ["KC101"]


def test_live_with_a_keystore_is_accepted(desk: Desk) -> None:
    keystore = desk.folder / "key.json"
    keystore.touch()
    assert desk.load(LIVE + SIGNER.format(keystore)).keeper.mode == "live"


# ─── what they mean ───────────────────────────────────────────────────────────────────────────────


def test_fingerprint_is_of_the_meaning(desk: Desk) -> None:
    one, other = desk.load("[risk]\nmin_profit = '$5.0'"), desk.load("# nothing")
    assert one.fingerprint() == other.fingerprint()


def test_fingerprint_changes_with_a_value(desk: Desk) -> None:
    assert desk.load("[risk]\nmin_profit = '$6'").fingerprint() != desk.load("").fingerprint()


def test_a_dump_loads_to_the_same_dump(desk: Desk) -> None:
    settings = desk.load(GOOD)
    again = desk.load(sets=[f"{key}={value}" for key, value in written(settings.dump())])
    assert again.dump() == settings.dump()


def written(tree: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from written(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value)


def test_a_dump_leaves_out_what_is_not_set(desk: Desk) -> None:
    assert desk.load(SIGNER.format("key.json")).dump()["signers"] == {
        "main": {"keystore": "key.json", "password": {"prompt": True}}
    }


def test_the_shipped_files_are_good() -> None:
    environ = {"MAINNET_RPC": "https://node.example"}
    for file in KEEPERS.glob("*.toml"):
        load([file], environ=environ).require_environment()


def test_the_annotated_file_states_every_default_as_it_is(desk: Desk) -> None:
    shipped, defaults = load([KEEPERS / "keeper.toml"], environ={}).dump(), desk.load().dump()
    sections = ("schema", "keeper", "risk", "tx", "record", "http", "log")
    assert {name: shipped[name] for name in sections} == {name: defaults[name] for name in sections}


def test_the_annotated_file_names_every_option() -> None:
    text = (KEEPERS / "keeper.toml").read_text()
    named = set(re.findall(r"^(?:# )?(\w+) *=", text, re.MULTILINE))
    models = [Settings, *(field.annotation for field in Settings.model_fields.values())]
    wanted = {
        field.alias or name
        for model in models
        for one in (model, *getattr(model, "__args__", ()))
        for name, field in getattr(one, "model_fields", {}).items()
    }
    assert wanted - named - set(Settings.model_fields) == set()
