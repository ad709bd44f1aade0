"""docs/how-to: what its pages tell the reader to write can be read by whom it is for."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient
from typer.main import get_command

from guard import load
from guard.cli.app import app as cli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
HOWTO = ROOT / "docs" / "how-to"
PAGES = {file.stem: file.read_text("utf-8") for file in sorted(HOWTO.glob("*.md"))}


def blocks(language: str) -> list[Any]:
    """The blocks of all pages in a language, each as a parameter that is named for its page."""
    found = []
    for name, page in PAGES.items():
        inside = re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        found += [pytest.param(each, id=f"{name}-{number}") for number, each in enumerate(inside)]
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each call of guard in the pages: its page, and its words."""
    for name, page in PAGES.items():
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines() if language == "sh" else ():
                call = re.match(r"(?:.*[ /])?guard ([a-z].*)", line.partition("  #")[0])
                if call is not None:
                    yield name, shlex.split(call[1].rstrip("'"))


def test_every_page_is_in_the_table_of_the_site() -> None:
    nav = (ROOT / "docs" / "site" / "mkdocs.yml").read_text("utf-8")
    assert {f"how-to/{name}.md" for name in PAGES} == set(re.findall(r"how-to/[\w-]+\.md", nav))


@pytest.mark.parametrize("settings", blocks("toml"))
def test_settings_load(settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_IDENTITY__PEPPER", "0123456789abcdef")
    (tmp_path / "guard.toml").write_text(settings)
    load(tmp_path / "guard.toml")


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_can_be_read(text: str) -> None:
    assert yaml.safe_load(text)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_can_be_compiled(code: str) -> None:
    ast.parse(code)


def test_the_fastapi_app_answers_as_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guard.toml").write_text("")
    app: dict[str, Any] = {}
    (code,) = [each.values[0] for each in blocks("python") if each.id == "fastapi-0"]
    exec(code, app)
    query = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    with TestClient(app["app"]) as client:
        answer = client.post("/v1/chat/completions", json=query, headers={"authorization": "Bearer sk-a"})
    assert answer.json()["choices"][0]["message"]["content"].startswith("Hello, ")
    assert {"ratelimit", "x-ratelimit-remaining-requests"} <= answer.headers.keys()


def test_guards_verbs_and_options_exist() -> None:
    calls = list(commands())
    assert {page for page, _ in calls} == PAGES.keys() - {"langchain"}  # which is for clients
    for page, words in calls:
        command: Any = get_command(cli)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands"), (page, words)
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= options | {"--"}, (page, words)


@pytest.mark.parametrize("unit", blocks("ini"))
def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    file = tmp_path / "guard-try.service"
    # It is judged whether programs are there; these always are.
    file.write_text(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", unit, flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if "guard-try.service" in line] == []


def certificate(folder: Path) -> None:
    """A certificate for nginx to load, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "api.example.com.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "api.example.com.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.mark.parametrize("text", blocks("nginx"))
def test_nginx_takes_its_settings(text: str, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
    if nginx is None:
        pytest.skip("there is no nginx here")
    certificate(tmp_path)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}"
        f"{text.replace('/etc/nginx', str(tmp_path)).replace('listen 443', 'listen 127.0.0.1:8443')}\n}}\n"
    )
    command = [nginx, "-t", "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr
