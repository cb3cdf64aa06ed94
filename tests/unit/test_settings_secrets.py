"""Secrets are referred to, fetched when needed, and never shown."""

import os
import re
import traceback
from contextvars import Context
from pathlib import Path

import pytest

from keeper.errors import Misconfigured, SecretUnusable
from keeper.observe import redact
from keeper.settings import Endpoint, Secret, Settings, Unusable, load, secrets
from keeper.settings.checks import LOCAL_CHAINS
from keeper.simulation.node import CHAIN_ID, FORK_CHAIN_ID

CANARY = "SECRETCANARY0123456789"
CHAIN = '[chains.main]\nid = 1\nrpc = "{}"\n'


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_registered", set())
    monkeypatch.setattr(redact, "_pattern", re.compile(r"(?!)"))


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None, sets: tuple[str, ...] = ()) -> Settings:
    file = tmp_path / "k.toml"
    file.write_text(text)
    return load([file], sets, environ or {})


def endpoint(written: str, **environ: str) -> Endpoint:
    return Context().run(lambda: (secrets.ENVIRON.set(environ), Endpoint(written))[1])


# ─── in what is shown ─────────────────────────────────────────────────────────────────────────────

SIGNER = '[signers.main]\nkeystore = "x"\npassword = { env = "PASSWORD" }\n'
ENVIRON = {
    "RPC": f"https://user:{CANARY}@node.example/v2/{CANARY}?key={CANARY}",
    "PASSWORD": CANARY,
    "KEEPER__CHAINS__OTHER__RPC": f"https://node.example/v2/{CANARY}",
    "KEEPER__CHAINS__OTHER__ID": "2",
}


@pytest.mark.parametrize("show", [repr, str, Settings.dump, Settings.model_dump, Settings.model_dump_json, vars])
def test_nothing_made_of_settings_shows_a_secret(tmp_path: Path, show: object) -> None:
    settings = loaded(tmp_path, CHAIN.format("${RPC}") + SIGNER, ENVIRON)
    assert callable(show) and CANARY not in str(show(settings))
    assert settings.chains["main"].rpc.reveal() == (ENVIRON["RPC"],)


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        (CHAIN.format(f"https://node.example/v2/{CANARY}"), ()),
        (CHAIN.format(f"https://{CANARY}@node.example"), ()),
        (CHAIN.format(f"ftp://node.example/{CANARY}"), ()),
        ("[chains.main]\nid = 1\n", (f"chains.main.rpc=https://node.example/{CANARY}",)),
        (f'[signers.main]\npassword = "{CANARY}"', ()),
        (f'[signers.main]\npassword = {{ env = "{CANARY} " }}\nkeystore = "x"', ()),
        (f'[signers.main]\npasswrod = "{CANARY}"\nkeystore = "x"', ()),
        (f'signer = {{ main = {{ password = "{CANARY}" }} }}', ()),
        (f'[signers.main]\nkey = "{CANARY}', ()),
        (f'[signers.main]\nkey = ["a",\n"{CANARY}"\n"b"]', ()),
        ("", (f"signers.main.password={CANARY}",)),
        (f'[strategies.s]\nuse = "a:B"\nprotocols = []\noptions = {{ api_key = "{CANARY}" }}', ()),
        ("", (f'strategies.s={{use="a", protocols=[], options={{api_key="{CANARY}"}}}}',)),
        (f'[keeper]\nhook = "https://hooks.example/{CANARY}"', ()),
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str, sets: tuple[str, ...]) -> None:
    with pytest.raises(Unusable) as caught:
        loaded(tmp_path, text, sets=sets)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert CANARY not in shown


def test_a_private_key_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(Unusable) as caught:
        loaded(tmp_path, f'[keeper]\nfoo = "0x{"ab" * 32}"')
    assert "abab" not in str(caught.value)


# ─── where they may stand ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rpc",
    [
        f"https://node.example/v2/{CANARY}",
        "https://user:word@node.example",
        "wss://node.example/?key=1",
        f"https://node.example/${{A}}/{CANARY}",
    ],
)
def test_a_key_in_a_literal_url_is_refused(tmp_path: Path, rpc: str) -> None:
    with pytest.raises(Unusable, match=r"KC107: chains.main.rpc has a key in it(?s:.*)export MAIN_RPC instead"):
        loaded(tmp_path, CHAIN.format(rpc))


def test_a_key_in_a_file_is_refused_even_when_the_environment_wins(tmp_path: Path) -> None:
    environ = {"KEEPER__CHAINS__MAIN__RPC": "https://node.example"}
    with pytest.raises(Unusable, match=r"KC107(?s:.*)k\.toml:3:7"):
        loaded(tmp_path, CHAIN.format(f"https://node.example/v2/{CANARY}"), environ)


@pytest.mark.parametrize("host", ["[broken", "ab℀@", "[::1%zone"])
def test_a_url_that_python_cannot_split_is_refused_without_being_quoted(host: str) -> None:
    with pytest.raises(ValueError) as caught:
        endpoint("${RPC}", RPC=f"https://{host}/{CANARY}")
    assert host not in str(caught.value) and CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "rpc",
    [
        "https://node.example/rpc",
        f"http://127.0.0.1:8545/{CANARY}",
        f"ws://[::1]:8545/{CANARY}",
        "http://geth:8545",
        "/run/geth.ipc",
        "~/.ethereum/geth.ipc",
    ],
)
def test_a_literal_without_a_key_or_on_this_machine_is_accepted(tmp_path: Path, rpc: str) -> None:
    [found] = loaded(tmp_path, CHAIN.format(rpc)).chains["main"].rpc.reveal()
    assert found == os.path.expanduser(rpc)  # noqa: PTH111  a URL is no path


MANY = "[chains.main]\nid = 1\nrpc = {}\n"


def test_several_endpoints_are_a_list_of_which_none_is_shown(tmp_path: Path) -> None:
    chain = loaded(tmp_path, MANY.format('["${RPC}", "/run/geth.ipc"]'), ENVIRON).chains["main"]
    assert chain.rpc.reveal() == (ENVIRON["RPC"], "/run/geth.ipc")
    assert CANARY not in repr(chain) + str(chain.model_dump()) + chain.model_dump_json()
    assert chain.model_dump(mode="json")["rpc"] == ["${RPC}", "/run/geth.ipc"]


@pytest.mark.parametrize(
    ("rpc", "words"), [("[]", "at least one"), ('["/a", 5]', "in quotes"), ('["/a", "b"]', "neither")]
)
def test_a_list_with_something_else_in_it_is_refused(tmp_path: Path, rpc: str, words: str) -> None:
    with pytest.raises(Unusable, match=rf"chains\.main\.rpc .*{words}"):
        loaded(tmp_path, MANY.format(rpc))


def test_a_key_in_one_url_of_several_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"KC107: chains\.main\.rpc has a key in it"):
        loaded(tmp_path, MANY.format(f'["/run/geth.ipc", "https://node.example/v2/{CANARY}"]'))


def test_the_variable_of_each_endpoint_must_be_set(tmp_path: Path) -> None:
    settings = loaded(tmp_path, MANY.format('["${RPC}", "${OTHER}"]'), ENVIRON)
    with pytest.raises(Unusable, match="environment variable OTHER is not set"):
        settings.require_environment()


def test_a_key_over_plain_http_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(ValueError, match="plain text"):
        endpoint("${RPC}", RPC=f"http://node.example/{CANARY}")


def test_a_reference_may_be_a_part_of_the_url() -> None:
    node = endpoint("https://node.example/v2/${NODE_KEY}", NODE_KEY=CANARY)
    assert (node.reveal(), str(node)) == (
        f"https://node.example/v2/{CANARY}",
        "https://node.example/v2/${NODE_KEY}",
    )


def test_a_raw_key_is_accepted_on_local_chains_only(tmp_path: Path) -> None:
    text = '[chains.c]\nid = {}\nrpc = "/x"\n[signers.main]\nkey = {{ env = "K" }}'
    for local in (CHAIN_ID, FORK_CHAIN_ID):
        loaded(tmp_path, text.format(local))
    with pytest.raises(Unusable, match=r"KC107: \[signers\.main\] key is for development"):
        loaded(tmp_path, text.format(1))


def test_the_local_chains_are_those_that_we_start_ourselves() -> None:
    assert {CHAIN_ID, FORK_CHAIN_ID} == LOCAL_CHAINS


@pytest.mark.parametrize(
    "fields",
    [
        "",
        'keystore = "x"',
        "password = { prompt = true }",
        'keystore = "x"\npassword = { prompt = true }\nkey = { env = "K" }',
        "key = { prompt = true }",
        'keystore = "x"\npassword = {}',
        'keystore = "x"\npassword = { env = "A", file = "b" }',
        'keystore = "x"\npassword = { prompt = false }',
    ],
)
def test_a_signer_has_exactly_one_key_and_one_password(tmp_path: Path, fields: str) -> None:
    with pytest.raises(Unusable, match=r"signers\.main"):
        loaded(tmp_path, f"[signers.main]\n{fields}")


# ─── fetching them ────────────────────────────────────────────────────────────────────────────────


def secret(environ: dict[str, str] | None = None, **source: object) -> Secret:
    return Context().run(lambda: (secrets.ENVIRON.set(environ or {}), Secret.model_validate(source))[1])


def test_a_variable_that_is_not_set_is_located_with_a_suggestion(tmp_path: Path) -> None:
    settings = loaded(tmp_path, CHAIN.format("${MAINET_RPC}"), {"MAINNET_RPC": "https://node.example"})
    with pytest.raises(Unusable, match=r'(?s)MAINET_RPC is not set.*k\.toml:3:7.*did you mean "MAINNET_RPC"\?'):
        settings.require_environment()


def test_revealing_an_endpoint_without_its_variable_says_so() -> None:
    with pytest.raises(Misconfigured, match="RPC is not set"):
        endpoint("${RPC}").reveal()


def test_a_dry_run_needs_no_password(tmp_path: Path) -> None:
    loaded(tmp_path, SIGNER).require_environment()


def test_a_password_leaves_the_environment_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", CANARY)
    password = secret({"PASSWORD": CANARY}, env="PASSWORD")
    assert password.reveal() == CANARY and "PASSWORD" not in os.environ


def test_a_password_is_hidden_from_logs_once_it_was_read() -> None:
    secret({"PASSWORD": CANARY}, env="PASSWORD").reveal()
    assert redact.text(f"wrong: {CANARY}") == "wrong: ***"


def test_a_password_file_is_read_without_its_last_newline(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" word \n")
    file.chmod(0o600)
    assert secret(file=str(file)).reveal() == " word "


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(CANARY)
    file.chmod(0o640)
    with pytest.raises(SecretUnusable, match="can be read by others"):
        secret(file=str(file)).reveal()


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=r"cannot read .*none: FileNotFoundError"):
        secret(file=str(tmp_path / "none")).reveal()


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(SecretUnusable, match="no terminal"):
        secret(prompt=True).reveal()


# ─── systemd ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("K03")
def test_a_systemd_credential_is_read_where_systemd_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text(f"{CANARY}\n")
    (tmp_path / "password").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret = Secret.model_validate({"credential": "password"})
    assert secret.reveal() == CANARY
    assert CANARY not in redact.text(f"it is {CANARY}")


@pytest.mark.fault("K03")
def test_without_systemd_a_credential_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretUnusable, match="CREDENTIALS_DIRECTORY is not set"):
        Secret.model_validate({"credential": "password"}).reveal()


@pytest.mark.parametrize("name", ["../other", "a/b", ""])
def test_a_credential_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(ValueError, match="credential"):
        Secret.model_validate({"credential": name})
