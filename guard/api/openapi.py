"""OpenAPI 3.1 of the operations: from the rows that make the routes, and the types of what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from guard.api.operations import VERSION
from guard.api.problems import MEDIA_TYPE, Problem
from guard.api.reading import IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_FORM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.api.operations import Operation

ABOUT = """
The operator's questions and orders: what `guard show`, `guard block` and the other verbs of the command line
ask and do. Each request has a token of `[[admin.tokens]]`; questions need the role `read`, orders `operate`.
An order can be given twice: what holds after is the same, but for two that say so. docs/admin-api.md says
more.
"""

SAID = {
    400: "The request cannot be read.",
    401: "No valid token.",
    403: "The token may not give orders.",
    404: "There is nobody, and nothing, of this name.",
    408: "The body came too slowly.",
    409: "The order cannot work with these settings, or as the key stands, or was given before.",
    413: "The body is too large.",
    414: "The URL is too long.",
    415: "The body is not JSON.",
    422: "A field is wrong; `errors` say which.",
    429: "Too many wrong tokens came from this network.",
    500: "A fault of guard's, or something in the store that cannot be read.",
    503: "The store does not answer.",
}

ONCE = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_FORM},
    "description": "With the same one, the order is carried out once in a day.",
}

ALWAYS = (400, 401, 422, 429, 500, 503)

WITH_BODY = (408, 413, 415)

_REF = "#/components/schemas/{model}"


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole description."""
    takes: list[Any] = [(each.where, "validation", TypeAdapter(each.takes)) for each in operations]
    gives: list[Any] = [(each.where, "serialization", TypeAdapter(each.gives)) for each in operations]
    problem: Any = ("problem", "serialization", TypeAdapter(Problem))
    made, known = TypeAdapter.json_schemas([*takes, *gives, problem], ref_template=_REF)
    shapes: dict[str, Any] = known["$defs"]
    paths = {}
    for each in operations:
        taken, given = made[each.where, "validation"], made[each.where, "serialization"]
        paths[each.where] = {each.method.lower(): _operation(each, taken, given, shapes)}
    for each in operations:
        if each.method == "GET":  # what it takes stands among its parameters
            shapes.pop(each.takes.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "guard: the operator's API",
            "version": VERSION,
            "description": " ".join(ABOUT.split()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `[[admin.tokens]]`."}
            },
            "schemas": shapes,
        },
    }


def _operation(operation: Operation, taken: Any, given: Any, shapes: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.path.replace("/", "_"),
        "summary": " ".join((operation.answer.__doc__ or "").split()),
        "tags": ["orders" if operation.is_order else "questions"],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": given}}},
            **{str(status): _refusal(status) for status in _statuses(operation)},
        },
    }
    if operation.method == "POST":
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": taken}}}
        if operation.once:
            made["parameters"] = [ONCE]
    else:
        made["parameters"] = _parameters(shapes[operation.takes.__name__])
    return made


def _refusal(status: int) -> dict[str, Any]:
    if status == 414:  # which the server says before anything of this is asked
        return {"description": SAID[status], "content": {"text/plain": {"schema": {"type": "string"}}}}
    problem = {"$ref": _REF.format(model=Problem.__name__)}
    return {"description": SAID[status], "content": {MEDIA_TYPE: {"schema": problem}}}


def _statuses(operation: Operation) -> list[int]:
    more = WITH_BODY if operation.method == "POST" else (414,)
    roles = (403,) if operation.is_order else ()
    return sorted({*ALWAYS, *more, *roles, *operation.refuses})


def _parameters(shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of a query, each as a parameter."""
    return [
        {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "schema": {key: value for key, value in schema.items() if key not in ("title", "description")},
            "description": schema.get("description", ""),
        }
        for name, schema in shape.get("properties", {}).items()
    ]
