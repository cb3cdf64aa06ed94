"""What is wrong with settings, each with its place: what pydantic finds, and what only the whole can show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from keeper.observe import redact
from keeper.settings.located import Problem, did_you_mean
from keeper.settings.positions import Keys
from keeper.settings.schema import Settings
from keeper.settings.secrets import REFERENCE, loopback, path
from keeper.settings.sources import Sources, leaves

DEVELOPMENT_CHAINS = {31337}  # Anvil and Hardhat; keys there are public anyway


# ─── what pydantic finds ──────────────────────────────────────────────────────────────────────────

KINDS = {
    "string_type": "needs text in quotes",
    "int_type": "needs a whole number",
    "bool_type": "needs true or false",
    "tuple_type": "needs a list in brackets",
    "dict_type": "needs a table",
    "model_type": "needs a table",
    "model_attributes_type": "needs a table",
    "string_pattern_mismatch": "needs module:Class or path/to/file.py:Class",
}


def from_pydantic(error: ValidationError, sources: Sources) -> list[Problem]:
    details = error.errors(include_url=False, include_input=False)
    return [problem for detail in details for problem in _translated(detail, sources)]


def _translated(detail: ErrorDetails, sources: Sources) -> Iterable[Problem]:
    keys: Keys = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _unknown(keys, sources)
    if detail["type"] == "missing":
        return _missing(keys, sources)
    return [_wrong(detail, keys, sources)]


def _unknown(keys: Keys, sources: Sources) -> Iterator[Problem]:
    name, above = str(keys[-1]), keys[:-1]
    known = _known(above)
    what = f'unknown key "{name}" in [{dotted(above)}]' if above else f'unknown section "{name}"'
    for document in sources.documents:
        if place := document.place(keys):
            yield Problem("KC102", what, place, did_you_mean(name, known), f"known here: {', '.join(known)}")


def _missing(keys: Keys, sources: Sources) -> Iterator[Problem]:
    """A key that is there, but misspelt, is one mistake and not two."""
    name, above = str(keys[-1]), keys[:-1]
    known = _known(above)
    table = sources.value(above)
    strangers = [key for key in table if key not in known] if isinstance(table, Mapping) else []
    near = next((key for key in strangers if did_you_mean(key, [name])), None)
    if near is None:
        yield Problem("KC104", f'[{dotted(above)}] needs "{name}"', sources.place(above))
    elif not _closed(above):
        what = f'[{dotted(above)}] needs "{name}"'
        yield Problem("KC104", what, sources.place((*above, near)), did_you_mean(near, [name]))


def _wrong(detail: ErrorDetails, keys: Keys, sources: Sources) -> Problem:
    raised = detail.get("ctx", {}).get("error")
    message = str(raised) if raised else KINDS.get(detail["type"]) or _said(detail["msg"])
    hint = ""
    if detail["type"] == "literal_error" and isinstance(written := sources.value(keys), str):
        hint = did_you_mean(written, re.findall(r"'(\w+)'", detail["msg"]))
    return Problem("KC103", f"{dotted(keys)} {message}", sources.place(keys, value=True), hint)


def _said(message: str) -> str:
    return message.replace("Input should be", "must be").replace("'", '"')


def _known(above: Keys) -> list[str]:
    """The keys that a table may have."""
    model = _model(above)
    return sorted(field.alias or name for name, field in model.model_fields.items()) if model else []


def _closed(above: Keys) -> bool:
    model = _model(above)
    return model is not None and model.model_config.get("extra") == "forbid"


def _model(above: Keys) -> type[BaseModel] | None:
    """The model of a table, or None for a free one; ``dict[str, Model]`` takes any name on the way."""
    model: type[BaseModel] | None = Settings
    steps = iter(above)
    for key in steps:
        field = model.model_fields.get(str(key)) if model else None
        kind = field.annotation if field else None
        parts = (kind, *get_args(kind))
        model = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
        if get_origin(kind) is dict:
            next(steps, None)
    return model


def in_order(problems: Iterable[Problem], sources: Sources) -> list[Problem]:
    """As a reader of the sources meets them."""
    order = [document.name for document in sources.documents]

    def met(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return (order.index(place.source), place.line, place.start) if place else (-1, 0, 0)

    return sorted(problems, key=met)


def dotted(keys: Keys) -> str:
    """``a.b[0]``"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


# ─── what only the whole can show ─────────────────────────────────────────────────────────────────


def of_whole(sources: Sources) -> Iterator[Problem]:
    """Works on what was written, so that these are found even where single values are wrong."""
    yield from _references(sources)
    yield from _keys_in_urls(sources)
    yield from _secret_options(sources)
    yield from _development_keys(sources)
    yield from _not_ready_for_live(sources)


def _references(sources: Sources) -> Iterator[Problem]:
    chains = [name for name, _ in sources.tables("chains")]
    protocols = [name for name, _ in sources.tables("protocols")]
    for name, protocol in sources.tables("protocols"):
        yield from _known_name(("protocols", name, "chain"), protocol.get("chain"), chains, sources)
    for name, strategy in sources.tables("strategies"):
        listed = strategy.get("protocols")
        for index, protocol in enumerate(listed if isinstance(listed, list) else []):
            yield from _known_name(("strategies", name, "protocols", index), protocol, protocols, sources)


def _known_name(keys: Keys, name: object, known: list[str], sources: Sources) -> Iterator[Problem]:
    if isinstance(name, str) and name not in known:
        section = "chains" if keys[-1] == "chain" else "protocols"
        what = f"{dotted(keys)}: there is no [{section}.{name}]"
        yield Problem("KC106", what, sources.place(keys, value=True), did_you_mean(name, known))


def _keys_in_urls(sources: Sources) -> Iterator[Problem]:
    """A URL with a key in it may come from the environment, but not from a file or from the command line."""
    for name, _ in sources.tables("chains"):
        keys: Keys = ("chains", name, "rpc")
        for document in sources.documents:
            rpc = document.value(keys)
            if not document.private and isinstance(rpc, str) and _has_key(REFERENCE.sub("", rpc)):
                what = f"{dotted(keys)} has a key in it, where others can read it"
                variable = re.sub(r"\W", "_", f"{name}_rpc").upper()
                help = f'write rpc = "${{{variable}}}" and export {variable} instead'
                yield Problem("KC107", what, document.place(keys, value=True), help=help)


def _has_key(rpc: str) -> bool:
    return "://" in rpc and not loopback(rpc) and bool(redact.url_secrets(rpc))


def _secret_options(sources: Sources) -> Iterator[Problem]:
    for section in ("protocols", "strategies"):
        for name, table in sources.tables(section):
            for keys, value in leaves(table, (section, name)):
                if isinstance(value, str) and redact.names_secret(str(keys[-1])):
                    what = f"{dotted(keys)} looks like a secret; protocols and strategies take none"
                    yield Problem("KC107", what, sources.place(keys))


def _development_keys(sources: Sources) -> Iterator[Problem]:
    public = [name for name, chain in sources.tables("chains") if chain.get("id") not in DEVELOPMENT_CHAINS]
    for name, signer in sources.tables("signers"):
        if "key" in signer and public:
            what = f"[signers.{name}] key is for development, but [chains.{public[0]}] is not a development chain"
            help = 'use keystore = "…" and password = { file = "…" }'
            yield Problem("KC107", what, sources.place(("signers", name, "key")), help=help)


def _not_ready_for_live(sources: Sources) -> Iterator[Problem]:
    keys: Keys = ("keeper", "mode")
    if sources.value(keys) != "live":
        return
    signers = dict(sources.tables("signers"))
    if len(signers) != 1:
        what = f'mode = "live" needs exactly one [signers.…], and there are {len(signers)}'
        yield Problem("KC108", what, sources.place(keys, value=True))
    for name, signer in signers.items():
        keystore = signer.get("keystore")
        if isinstance(keystore, str) and keystore and not path(keystore).is_file():
            what = f"signers.{name}.keystore: there is no such file"
            yield Problem(
                "KC101", what, sources.place(("signers", name, "keystore")), help="keystores are V3 JSON files"
            )


# ─── what the environment lacks ───────────────────────────────────────────────────────────────────


def unset(settings: Settings, sources: Sources, environ: Iterable[str]) -> Iterator[Problem]:
    """Variables that a run with these settings needs; a dry run signs nothing and needs no password."""
    for name, chain in settings.chains.items():
        for variable in chain.rpc.unset:
            yield _unset(("chains", name, "rpc"), variable, sources, environ)
    for name, signer in settings.signers.items() if settings.keeper.mode == "live" else ():
        for field in ("key", "password"):
            secret = getattr(signer, field)
            if secret and secret.unset:
                yield _unset(("signers", name, field, "env"), secret.env, sources, environ)


def _unset(keys: Keys, variable: str, sources: Sources, environ: Iterable[str]) -> Problem:
    what = f"environment variable {variable} is not set"
    hint = did_you_mean(variable, environ)
    return Problem("KC109", what, sources.place(keys, value=True), hint, f"export {variable}=…")
