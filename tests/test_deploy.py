"""The files to deploy with are as the code has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from guard import ConfigError, load

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ON_PRODUCTION = (ROOT / "docs" / "production.md").read_text("utf-8")
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for file in sorted(KUBERNETES.glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text())
]


def test_the_files_set_only_variables_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(file.read_text("utf-8") for file in DEPLOY.rglob("*") if file.is_file())
    variables = set(re.findall(r"\bGUARD_[A-Z_]+", text)) - {"GUARD_PORT"}  # which Kubernetes sets for itself
    assert {"GUARD_CONFIG", "GUARD_DATA_DIR", "GUARD_STORE__REDIS_URL", "GUARD_IDENTITY__PEPPER"} <= variables
    values = {
        "GUARD_BACKEND__URL": "http://model:8000",
        "GUARD_CONFIG": str(ROOT / "examples" / "guard.toml"),
        "GUARD_DATA_DIR": "/var/lib/guard",
        "GUARD_IDENTITY__PEPPER": "0123456789abcdef",
        "GUARD_STORE__REDIS_URL": "redis://redis:6379/0",
    }
    for variable in variables:
        monkeypatch.setenv(variable, values[variable])
    settings = load()
    assert settings.store.redis_url is not None
    assert str(settings.data_dir) == "/var/lib/guard"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / "guard.service"
    # It is judged whether programs are there; these always are.
    unit.write_text(
        (DEPLOY / "guard.service").read_text("utf-8").replace("/opt/guard/bin/guard", "/bin/true")
    )
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if "guard.service" in line] == []


def test_every_link_of_the_production_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", ON_PRODUCTION):
        assert (ROOT / "docs" / target).exists(), target


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods() -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in MANIFESTS if each["kind"] == "Deployment"]


@pytest.mark.parametrize(
    "version", ["1.30", kubernetes_validate.latest_version()]
)  # the first with `preStop.sleep`
@pytest.mark.parametrize("each", MANIFESTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_kubernetes_takes_the_manifests(each: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_the_settings_of_the_manifests_load_once_the_secret_has_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guard.toml").write_text(manifest("ConfigMap", "guard")["data"]["guard.toml"])
    secret = manifest("Secret", "guard")["stringData"]
    given = {
        "GUARD_IDENTITY__PEPPER": "0123456789abcdef",
        "GUARD_STORE__REDIS_URL": "rediss://redis.example.com:6379/0",
    }
    assert secret.keys() == given.keys()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert str(load(tmp_path / "guard.toml").backend.url) == "http://model:8000/"
    for name in given:
        with monkeypatch.context() as shipped:
            shipped.setenv(name, secret[name])
            with pytest.raises(ConfigError, match=name):
                load(tmp_path / "guard.toml")


def test_the_pods_may_write_to_tmp_alone_and_be_nobody_in_particular() -> None:
    assert len(pods()) == 2
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        written = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        (volume,) = [each for each in pod["volumes"] if each["name"] in written]
        assert "emptyDir" in volume


def test_probes_and_service_name_ports_that_the_pod_has() -> None:
    (serve,) = manifest("Deployment", "guard")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in serve["ports"]}
    options = dict(zip(serve["args"][1::2], serve["args"][2::2], strict=True))
    assert ports == {"http": int(options["--port"]), "metrics": int(options["--metrics-port"])}
    probes = {name: serve[name]["httpGet"] for name in serve if name.endswith("Probe")}
    assert {probe["path"] for probe in probes.values()} == {"/-/live", "/-/ready"}
    assert {probe["port"] for probe in probes.values()} <= ports.keys()
    assert [port["targetPort"] for port in manifest("Service", "guard")["spec"]["ports"]] == ["http"]


def test_selectors_and_policies_name_labels_that_pods_have() -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"].items()
        for each in MANIFESTS
        if each["kind"] == "Deployment"
    }
    for name in labels:
        assert manifest("Deployment", name)["spec"]["selector"]["matchLabels"].items() <= labels[name]
    assert manifest("Service", "guard")["spec"]["selector"].items() <= labels["guard"]
    budget = manifest("PodDisruptionBudget", "guard")["spec"]["selector"]["matchLabels"].items()
    assert budget <= labels["guard"]
    assert not budget <= labels["guard-worker"]
    (rule,) = manifest("NetworkPolicy", "model-from-guard-only")["spec"]["ingress"]
    (source,) = rule["from"]
    assert source["podSelector"]["matchLabels"].items() <= labels["guard"]
