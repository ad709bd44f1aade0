"""Writes docs/reference/commands.md: every verb, its arguments and its options."""

from __future__ import annotations

from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from typer.main import get_command

from guard.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click import Command, Parameter

PAGE = Path(__file__).parents[1] / "reference" / "commands.md"

HEAD = """# Commands

Every verb of `guard`, written by `make docs` from the code. Data goes to standard output and remarks to
standard error. Where `--json` is an option, it prints one JSON value, whose fields the page of the verb
describes.

| exit code | says |
|---|---|
| 0 | done |
| 1 | a setting or the machine is at fault, or something that the store holds could not be read |
| 2 | wrong usage |
| 3 | nobody of that name |
| 69 | the store does not answer |
| 141 | the reader of a pipe has closed it |
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([HEAD, *(_entry(name, verb) for name, verb in _verbs("guard", get_command(app)))])


def _verbs(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    """The verbs below a command, each with its full name."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, verb in sorted(below.items()):
        yield from _verbs(f"{name} {word}", verb)


def _entry(name: str, verb: Command) -> str:
    parameters = [each for each in verb.params if not getattr(each, "hidden", False)]
    names = [f" {_argument(each)}" for each in parameters if each.param_type_name == "argument"]
    parts = [f"## {name}", f"`{name}{''.join(names)}`", cleandoc(verb.help or "").replace("\n\n\n", "\n\n")]
    hints = get_type_hints(verb.callback)
    rows = [f"| {_names(each)} | {_said(each, hints.get(each.name or ''))} |" for each in parameters]
    if rows:
        parts.append("\n".join(["| argument or option | is |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _argument(parameter: Parameter) -> str:
    name = parameter.metavar or (parameter.name or "").upper()
    return name if parameter.required else f"[{name}]"


def _names(parameter: Parameter) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or (parameter.name or '').upper()}`"
    return ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))


def _said(parameter: Parameter, hint: Any) -> str:
    text = " ".join((getattr(parameter, "help", None) or "").split())
    for choices in _enums(hint):
        text += f" One of {', '.join(f'`{each.value}`' for each in choices)}."
    if parameter.default not in (None, False, "") and not callable(parameter.default):
        text += f" Default: `{_value(parameter.default)}`."
    return text.strip().replace("|", "\\|")


def _enums(hint: Any) -> Iterator[type[Enum]]:
    """The enumerations in a type, whose values are all that an option takes."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield hint
    for part in get_args(hint):
        yield from _enums(part)


def _value(choice: Any) -> str:
    return str(getattr(choice, "value", choice))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
