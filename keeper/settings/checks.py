"""What is wrong with settings, each with its place: what pydantic finds, and what only the whole can show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from keeper.observe import redact
from keeper.settings.located import Problem, did_you_mean, dotted
from keeper.settings.positions import Keys
from keeper.settings.schema import Settings
from keeper.settings.secrets import REFERENCE, loopback, path
from keeper.settings.sources import PREFIX, Sources

LOCAL_CHAINS = {31337, 0x6B656570}  # Anvil and Hardhat, and our own forks; keys there are public anyway


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


def of_values(error: ValidationError, sources: Sources) -> list[Problem]:
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
    near = next((key for key in sources.below(above) if key not in known and did_you_mean(key, [name])), None)
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


# ─── what only the whole can show ─────────────────────────────────────────────────────────────────


def of_whole(sources: Sources) -> Iterator[Problem]:
    """Works on what was written, so that these are found even where single values are wrong."""
    yield from _almost_ours(sources.environ)
    yield from _references(sources)
    yield from _keys_in_urls(sources)
    yield from _secret_options(sources)
    yield from _development_keys(sources)
    yield from _not_ready_for_live(sources)


def _almost_ours(environ: Iterable[str]) -> Iterator[Problem]:
    """KEEPER_RISK__RESERVE would be passed over, and the reserve be the default."""
    for name in sorted(environ):
        if name.upper().startswith("KEEPER_") and "__" in name and not name.startswith(PREFIX):
            meant = f"{PREFIX}{name[len('KEEPER_') :].strip('_').upper()}"
            yield Problem("KC102", f"unknown environment variable {name}", hint=f'did you mean "{meant}"?')


def _references(sources: Sources) -> Iterator[Problem]:
    for name in sources.tables("protocols"):
        yield from _unnamed(("protocols", name, "chain"), "chains", sources)
    for name in sources.tables("strategies"):
        keys: Keys = ("strategies", name, "protocols")
        listed = sources.value(keys)
        for index in range(len(listed) if isinstance(listed, list) else 0):
            yield from _unnamed((*keys, index), "protocols", sources)


def _unnamed(keys: Keys, section: str, sources: Sources) -> Iterator[Problem]:
    name, known = sources.value(keys), sources.tables(section)
    if isinstance(name, str) and name not in known:
        what = f"{dotted(keys)}: there is no [{section}.{name}]"
        yield Problem("KC106", what, sources.place(keys, value=True), did_you_mean(name, known))


def _keys_in_urls(sources: Sources) -> Iterator[Problem]:
    """A URL with a key in it may come from the environment, but not from a file or from the command line."""
    for name in sources.tables("chains"):
        keys: Keys = ("chains", name, "rpc")
        for document in sources.documents:
            rpc = document.value(keys)
            written = [one for one in (rpc if isinstance(rpc, list) else [rpc]) if isinstance(one, str)]
            if not document.private and any(_has_key(REFERENCE.sub("", one)) for one in written):
                what = f"{dotted(keys)} has a key in it, where others can read it"
                variable = re.sub(r"\W", "_", f"{name}_rpc").upper()
                help = f'write rpc = "${{{variable}}}" and export {variable} instead'
                yield Problem("KC107", what, document.place(keys, value=True), help=help)


def _has_key(rpc: str) -> bool:
    return "://" in rpc and not loopback(rpc) and bool(redact.url_secrets(rpc))


def _secret_options(sources: Sources) -> Iterator[Problem]:
    for document in sources.documents:
        for keys in document.marks:
            strange = keys[0] in ("protocols", "strategies") and redact.names_secret(str(keys[-1]))
            if strange and isinstance(document.value(keys), str):
                what = f"{dotted(keys)} looks like a secret; protocols and strategies take none"
                yield Problem("KC107", what, document.place(keys))


def _development_keys(sources: Sources) -> Iterator[Problem]:
    public = [name for name in sources.tables("chains") if sources.value(("chains", name, "id")) not in LOCAL_CHAINS]
    for name in sources.tables("signers"):
        if "key" in sources.below(("signers", name)) and public:
            what = f"[signers.{name}] key is for development, but [chains.{public[0]}] is not a development chain"
            help = 'use keystore = "…" and password = { file = "…" }'
            yield Problem("KC107", what, sources.place(("signers", name, "key")), help=help)


def _not_ready_for_live(sources: Sources) -> Iterator[Problem]:
    keys: Keys = ("keeper", "mode")
    if sources.value(keys) != "live":
        return
    signers = sources.tables("signers")
    if not signers:
        what = 'mode = "live" needs at least one [signers.…], and there is none'
        yield Problem("KC108", what, sources.place(keys, value=True))
    for name in signers:
        keys = ("signers", name, "keystore")
        keystore = sources.value(keys)
        if isinstance(keystore, str) and keystore and not path(keystore).is_file():
            help = "keystores are V3 JSON files"
            yield Problem("KC101", f"{dotted(keys)}: there is no such file", sources.place(keys), help=help)
