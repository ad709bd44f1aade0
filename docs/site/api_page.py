"""Writes docs/api.md from the docstrings and signatures of the public names."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "api.md"

PUBLIC = {
    "Middleware": ("guard.GuardMiddleware", "guard.GuardState", "guard.asgi.state.Remaining"),
    "Events and hooks": (
        "guard.Hook",
        "guard.Event",
        "guard.telemetry.events.Times",
        "guard.telemetry.events.Failure",
        "guard.telemetry.events.Read",
        "guard.telemetry.events.Hold",
        "guard.telemetry.events.Notice",
        "guard.telemetry.events.Told",
        "guard.telemetry.events.Sent",
        "guard.telemetry.state.State",
        "guard.telemetry.state.Analyst",
        "guard.telemetry.prometheus.PrometheusHook",
    ),
    "Admin API": ("guard.AdminAPI",),
    "Dashboard": ("guard.Dashboard", "guard.dashboard.Viewer"),
    "Orders": (
        "guard.admin.Operator",
        "guard.admin.KeyOrders",
        "guard.admin.Issued",
        "guard.admin.IssuedKey",
        "guard.admin.Act",
    ),
    "Settings": ("guard.load", "guard.Settings"),
    "Errors": ("guard.GuardError", "guard.ConfigError"),
}
"""Everything that an application may import, by section."""

HEAD = """# API

What an application may import; everything else in the package may change in any release. `make docs` writes
this page from the code. Public is also `guard.asgi.cors.EXPOSED_HEADERS`, the names of the headers that a
page of another site may read, for `CORSMiddleware`. [app.md](app.md) and [logging.md](logging.md) show how to
use it.
"""


def page() -> str:
    """The whole page, in Markdown."""
    sections = [f"## {title}\n\n" + "\n".join(map(_entry, names)) for title, names in PUBLIC.items()]
    return "\n".join([HEAD, *sections])


def _entry(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    found = getattr(import_module(module), attribute)
    parts = [f"### `{name}`", f"```python\n{_signature(attribute, found)}\n```", inspect.getdoc(found) or ""]
    if is_dataclass(found):
        parts.append(_fields(found))
    if inspect.isclass(found) and attribute != "Settings":  # its methods are for guard itself
        parts += [
            f"`{member}`: {inspect.getdoc(value)}"
            for member, value in vars(found).items()
            if _is_public(member, value)
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_public(name: str, value: object) -> bool:
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))


def _signature(name: str, found: Any) -> str:
    if inspect.isclass(found) and issubclass(found, Exception):
        return f"class {name}({', '.join(base.__name__ for base in found.__bases__)})"
    if is_dataclass(found) or name in ("Settings", "Hook"):
        return f"class {name}"
    # One parameter a line, as a formatter breaks them.
    parameters = [f"    {each},\n" for each in _parameters(inspect.signature(found))]
    return f"{name}(\n{''.join(parameters)})"


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    keyword_only = False
    for each in signature.parameters.values():
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            yield "*"
        default = "" if each.default is inspect.Parameter.empty else f" = {_shown(each.default)}"
        annotation = getattr(each.annotation, "__forward_arg__", each.annotation)  # as a named tuple has them
        yield f"{each.name}: {annotation}{default}"


def _shown(default: object) -> str:
    """A default; an object that has no notation of its own by its type."""
    text = repr(default)
    return type(default).__name__ if " at 0x" in text else text


def _fields(found: Any) -> str:
    rows = (
        f"| `{each.name}` | `{each.type}` | {_default(each)} |".replace(" | None", " \\| None")
        for each in fields(found)
        if not each.name.startswith("_")
    )
    return "\n".join(["| field | type | default |", "|---|---|---|", *rows])


def _default(field: Any) -> str:
    if field.default is not MISSING:
        return f"`{field.default!s}`" if field.default != "" else '`""`'
    return "" if field.default_factory is MISSING else "empty"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
