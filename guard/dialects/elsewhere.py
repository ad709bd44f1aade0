"""Fields by which a request asks for another model than its `model`, or for another backend.

LiteLLM, OpenRouter, vLLM, SGLang and others read such fields from any body, whatever its API. Other models
that may answer are judged as if each had been asked: the dearest price, the largest cap, the limits of all.
What sends the request elsewhere or brings a credential is refused, and so is a second place for what has been
judged. Names hold in any case.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guard.dialects import strict
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
        "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks",
        "fallback_models", "fallback_model", "base_model", "model_group", "model_id",
        # Azure's and other names for a model
        "engine", "deployment", "deployment_id", "deployment_name", "azure_deployment",
        # adapters that SGLang, LoRAX and TGI put on the model
        "lora_path", "lora_name", "adapter_id",
    }
)  # fmt: skip
"""Fields that name models: a name, names, `{"model": name}`, or names by the model that they stand in for."""

ADDRESS = "names a backend"
CREDENTIAL = "brings a credential"
ROUTING = "changes how models are chosen"

REFUSED = {
    **dict.fromkeys(
        (
            "api_base", "base_url", "api_url", "azure_endpoint", "deployment_url", "sagemaker_base_url",
            "s3_endpoint_url", "aws_bedrock_runtime_endpoint", "aws_sts_endpoint", "vertex_api_endpoint",
            "custom_llm_provider", "proxy_url",
            # another server of a pair that prefills and decodes: vLLM's and SGLang's
            "kv_transfer_params", "bootstrap_host", "bootstrap_port",
        ),
        ADDRESS,
    ),
    **dict.fromkeys(
        (
            "api_key", "azure_ad_token", "azure_ad_token_provider", "azure_username", "azure_password",
            "client_secret", "vertex_credentials", "vertex_ai_credentials", "aws_access_key_id",
            "aws_secret_access_key", "aws_session_token", "aws_web_identity_token", "aws_role_name",
            "aws_profile_name", "litellm_credential_name", "extra_headers", "default_headers", "headers",
        ),
        CREDENTIAL,
    ),
    **dict.fromkeys(
        (
            "user_config", "model_list", "model_info", "model_group_alias", "model_alias_map",
            "litellm_params", "router_settings", "router_settings_override", "specific_deployment",
            "input_cost_per_token", "output_cost_per_token", "input_cost_per_second", "extra_query",
        ),
        ROUTING,
    ),
}  # fmt: skip
"""Fields that are refused, with the reason."""

JUDGED = frozenset(
    {"model", "messages", "input", "prompt", "contents", "system", "instructions", "n", "best_of", "stream"}
    | {"max_tokens", "max_completion_tokens", "max_output_tokens", "extra_body"}
)
"""What has been judged where it stands in the body, and may not stand in its `extra_body`: a proxy (LiteLLM)
puts that over the body."""

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
    names = list(_named(payload, query.model, ""))
    more = next((value for name, value in payload.items() if name.casefold() == "extra_body"), None)
    if isinstance(more, dict):
        for name in more:
            if name.casefold() in JUDGED:
                raise QueryError(
                    f"Write {name!r} in the body, not in 'extra_body'.", param=f"extra_body.{name}"
                )
        names += _named(more, query.model, "extra_body.")
    others = tuple(dict.fromkeys(name for name in names if name != query.model))
    if len(others) >= MOST_MODELS:
        raise QueryError(f"A request may name at most {MOST_MODELS} models.", param="models")
    return replace(query, alternatives=others) if others else query


def _named(fields: Json, model: str, where: str) -> Iterator[str]:
    """The models that fields name; raises `QueryError` for one that is refused."""
    for name, value in fields.items():
        folded = name.casefold()
        if value is None or value is False or value == [] or value == {}:
            continue
        if (reason := REFUSED.get(folded)) is not None:
            raise QueryError(f"{where + name!r} is not allowed: it {reason}.", param=where + name)
        if folded in OTHER_MODELS:
            yield from _names(value, where + name)
        elif folded == "model" and value != model and value != f"models/{model}":
            # Only where the path names the model: else it is what has been read.
            raise QueryError(f"{where + name!r} must be the model that is asked for.", param=where + name)
        elif folded in ("tools", "plugins") and isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    yield from (
                        n for key in item if key.casefold() == "model" for n in _names(item[key], folded)
                    )


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
