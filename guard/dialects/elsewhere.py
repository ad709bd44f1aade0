"""Fields by which a request asks for another model than its `model`, or for another backend.

LiteLLM, OpenRouter, vLLM, SGLang and others read such fields from any body, whatever its API. Other models
that may answer are judged as if each had been asked: the dearest price, the largest cap, the limits of all.
What sends the request elsewhere, brings a credential or overrules what has been judged is refused, and so is
a second place for it. Names are compared without case and underscores: `model_id`, `modelId` and `Model_ID`
are one. A name that no table has is judged as a model where it sounds like one.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.by_name import ByName
from guard.dialects import strict
from guard.dialects.caps import CAPS, COUNTS, plain
from guard.dialects.generic import Generic
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.core.query import Query
    from guard.dialects.base import Dialect
    from guard.dialects.strict import Json

OTHER_MODELS = frozenset(
    {
        # OpenRouter
        "models", "preset",
        # LiteLLM's router
        "fallbacks", "contextwindowfallbacks", "contentpolicyfallbacks", "defaultfallbacks",
        "fallbackmodels", "fallbackmodel", "basemodel", "modelgroup", "modelid",
        # Azure's and other names for a model
        "engine", "deployment", "deploymentid", "deploymentname", "azuredeployment",
        # adapters that SGLang, LoRAX and TGI put on the model
        "lorapath", "loraname", "adapterid",
    }
)  # fmt: skip
"""Fields that name models: a name, names, `{"model": name}`, or names by the model that they stand in for."""

LIKE_A_MODEL = re.compile(r"model|deployment|adapter|^lora|lora$")
"""What other fields are called that may name models: `judge_model`, `allowed_models`, `lora_request`."""

HOLDERS = frozenset(
    {
        "tools", "plugins", "parameters", "reasoning", "agent", "agents", "router", "routing",
        "provideroptions", "gateway", "nvext", "vllmxargs", "config", "options", "generationconfig",
    }
)  # fmt: skip
"""Objects, or lists of them, in which some server looks for a model. Free-form ones are none:
metadata, schemas."""

ADDRESS = "names a backend"
CREDENTIAL = "brings a credential"
ROUTING = "changes how models are chosen"
OVERRULING = "overrules other fields"

REFUSED = {
    **dict.fromkeys(
        (
            "apibase", "baseurl", "apiurl", "deploymenturl", "customllmprovider", "proxyurl", "proxies",
            "regionname", "apiversion", "apitype", "callbacks", "successcallback", "failurecallback",
            "servicecallback", "sslverify", "s3endpointurl",
            # another server of a pair that prefills and decodes: vLLM's and SGLang's
            "kvtransferparams", "bootstraphost", "bootstrapport",
        ),
        ADDRESS,
    ),
    **dict.fromkeys(
        (
            "apikey", "clientid", "clientsecret", "tenantid", "organization", "openaiorganization",
            "litellmcredentialname", "configurableclientsideauthparams", "extraheaders", "defaultheaders",
            "headers", "providerspecificheader", "providerspecificheaders", "secretfields",
            "proxyserverrequest",
        ),
        CREDENTIAL,
    ),
    **dict.fromkeys(
        (
            "userconfig", "modellist", "modelinfo", "modelconfig", "modelgroupalias", "modelaliasmap",
            "litellmparams", "routersettings", "routersettingsoverride",
            "specificdeployment", "extraquery", "contextwindowfallbackdict", "promptid", "allowedmodelregion",
        ),
        ROUTING,
    ),
    **dict.fromkeys(
        ("dropparams", "additionaldropparams", "modifyparams", "allowedopenaiparams", "litellmdropparams"),
        OVERRULING,
    ),
}  # fmt: skip
"""Fields that are refused, with the reason."""

REFUSED_KINDS = (
    (re.compile(r"^(aws|azure|vertex|watsonx|sagemaker|oci|gcs|userapikey)"), CREDENTIAL),
    (re.compile(r"(apikey|secretkey|secret|accesskey|credentials?|password|accesstoken)$"), CREDENTIAL),
    (re.compile(r"(baseurl|apibase|apiurl|endpoint|endpointurl)$"), ADDRESS),
    (re.compile(r"^(langfuse|langsmith|arize|posthog|humanloop|wandb)"), ADDRESS),
    (re.compile(r"costper"), ROUTING),
)
"""Likewise, by what their names have in common."""

JUDGED = frozenset(
    {
        "model",
        "messages",
        "input",
        "prompt",
        "promptembeds",
        "contents",
        "system",
        "instructions",
        "extrabody",
    }
    | {"stream", "streamoptions", "usage"}
    | CAPS
    | COUNTS
)
"""What has been judged where it stands in the body, and may not stand in its `extra_body`: a proxy (LiteLLM)
puts that over the body."""

_READ = OTHER_MODELS | HOLDERS | REFUSED.keys() | (JUDGED - CAPS - COUNTS)
"""Of these, an object has one spelling: a server may read another than was judged. Of caps, the
largest counts."""

MOST_MODELS = 16
"""Maximum number of models that one request may name."""


def read(dialect: Dialect, payload: Json, path: str) -> Query:
    """The query in a body, with all models that may answer it; raises `QueryError`.

    An operator's own API (`Generic`) has no such fields: where its model stands is all that is known of it.
    """
    query = dialect.read(payload, path)
    return query if isinstance(dialect, Generic) else judged(query, payload)


def judged(query: Query, payload: Json) -> Query:
    """The query with all other models that it may be answered by; raises `QueryError`."""
    if "," in query.model:
        raise QueryError("Ask for one model: 'model' must not hold a comma.", param="model")
    names = _named(payload, query.model, "")
    if "@preset/" in query.model:  # OpenRouter's other way to write a preset
        names += query.model.split("@preset/")[1:]
    for name in payload:
        if _SAYS[name].known != "extrabody":
            continue
        more = strict.mapping(payload, name)
        for inner in more:
            if plain(inner) in JUDGED:
                raise QueryError(f"Write {inner!r} in the body, not in {name!r}.", param=f"{name}.{inner}")
        names += _named(more, query.model, f"{name}.")
    if not names:
        return query
    others = tuple(dict.fromkeys(name for name in names if name != query.model))
    if len(others) >= MOST_MODELS:
        raise QueryError(f"A request may name at most {MOST_MODELS} models.", param="models")
    return query._replace(alternatives=others) if others else query


class _Says(NamedTuple):
    """What a name says: how it is compared, whether it has one spelling, and what is to be done with it."""

    known: str
    read: bool
    what: _What | None
    reason: str = ""


class _What(Enum):
    """What a field may be about."""

    MODELS = auto()
    REFUSED = auto()
    MODEL = auto()
    LIKE_A_MODEL = auto()
    HOLDER = auto()


def _said(name: str) -> _Says:
    known = plain(name)
    read = known in _READ
    if known in OTHER_MODELS:
        return _Says(known, read, _What.MODELS)
    if (reason := _reason(known)) is not None:
        return _Says(known, read, _What.REFUSED, reason)
    if known == "model":
        return _Says(known, read, _What.MODEL)
    if LIKE_A_MODEL.search(known):
        return _Says(known, read, _What.LIKE_A_MODEL)
    return _Says(known, read, _What.HOLDER if known in HOLDERS else None)


_SAYS = ByName(_said)


def _named(fields: Json, model: str, where: str) -> list[str]:
    """The models that fields name; raises `QueryError` for one that is refused."""
    names: list[str] = []
    spelled: dict[str, str] = {}
    for name, value in fields.items():
        known, read, what, reason = _SAYS[name]
        if read:
            if known in spelled:
                raise QueryError(f"Give {spelled[known]!r} or {name!r}, not both.", param=where + name)
            spelled[known] = name
        if what is None or value is None or value is False or value == [] or value == {}:
            continue
        if what is _What.MODELS:
            names += _names(value, where + name)
        elif what is _What.REFUSED:
            raise QueryError(f"{where + name!r} is not allowed: it {reason}.", param=where + name)
        elif what is _What.MODEL:
            if value not in (model, f"models/{model}"):
                # Only where the path names the model: else it is what has been read.
                raise QueryError(f"{where + name!r} must be the model that is asked for.", param=where + name)
        elif what is _What.LIKE_A_MODEL:
            names += _likely_names(value, where + name)
        else:
            names += _held(value, where + name)
    return names


def _reason(known: str) -> str | None:
    """Why a field of this name is refused, `None` where it is not."""
    kinds = (reason for pattern, reason in REFUSED_KINDS if pattern.search(known))
    return REFUSED.get(known) or next(kinds, None)


def _held(value: Any, where: str) -> Iterator[str]:
    """The models that an object or a list of objects names in any of its fields."""
    for fields in value if isinstance(value, list) else [value]:
        for name, inner in fields.items() if isinstance(fields, dict) else ():
            known = plain(name)
            if known in HOLDERS:
                yield from _held(inner, f"{where}.{name}")
            elif known in OTHER_MODELS or LIKE_A_MODEL.search(known):
                # An object here may be a schema, in which `model` is a property.
                yield from _strings(inner, f"{where}.{name}")


def _likely_names(value: Any, where: str) -> Iterator[str]:
    """The names in a field that sounds like a model, also in objects: `{"lora_name": name}`."""
    yield from _strings(value, where)
    for fields in value if isinstance(value, list) else [value]:
        for name, inner in fields.items() if isinstance(fields, dict) else ():
            if (known := plain(name)) in ("id", "name", "path") or LIKE_A_MODEL.search(known):
                yield from _strings(inner, f"{where}.{name}")


def _strings(value: Any, where: str) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and item:
            yield strict.bounded(item, where)


def _names(value: Any, where: str) -> Iterator[str]:
    """The names in a value, in any of the shapes that it may have."""
    if isinstance(value, str):
        yield strict.bounded(value, where)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item, where)
    elif isinstance(value, dict) and value.keys() == {"model"}:
        yield from _names(value["model"], where)
    elif isinstance(value, dict) and all(isinstance(names, list) for names in value.values()):
        for name, names in value.items():
            yield strict.bounded(name, where)
            yield from _names(names, where)
    else:
        raise QueryError(f"{where!r} must be names of models.", param=where)
