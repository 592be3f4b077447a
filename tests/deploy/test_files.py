"""The files of deploy/ say what the programs that read them understand."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
VERSION = "1.31"  # the oldest that is still maintained


def needed(program: str, package: str) -> str:
    """Return where a program is; skip without it, but not in CI."""
    path = shutil.which(program)
    if path is None:
        assert not os.environ.get("CI"), f"CI has {program}: see .ci/run"
        pytest.skip(f"needs {program} (Debian's package {package})")
    return path


@cache
def rendered(folder: str) -> list[dict[str, Any]]:
    """Return the objects that a kustomization makes."""
    kubectl = needed("kubectl", "kubernetes-client")
    made = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes" / folder], capture_output=True, timeout=60)
    assert made.returncode == 0, made.stderr.decode()
    return list(yaml.safe_load_all(made.stdout))


@pytest.mark.parametrize("folder", ["base", "autoscaling"])
def test_kubernetes_understands_every_object(folder: str) -> None:
    kinds = []
    for thing in rendered(folder):
        kinds.append(thing["kind"])
        assert thing["kind"] == "Namespace" or thing["metadata"]["namespace"] == "rota"
        if not thing["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(thing, VERSION, strict=True)
    expected = {"Namespace", "Deployment", "Service", "PodDisruptionBudget"}
    assert set(kinds) == expected | ({"ScaledObject", "TriggerAuthentication"} if folder == "autoscaling" else set())


def test_nothing_in_kubernetes_is_root_or_writes_where_it_should_not() -> None:
    for thing in rendered("base"):
        if thing["kind"] == "Deployment":
            pod = thing["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp", "/data"}


def test_what_refers_to_something_in_kubernetes_finds_it() -> None:
    things = rendered("autoscaling")
    named = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
    for thing in things:
        if thing["kind"] == "PodDisruptionBudget":
            labels = thing["spec"]["selector"]["matchLabels"]
            assert any(
                other["spec"]["template"]["metadata"]["labels"] == labels
                for other in things
                if other["kind"] == "Deployment"
            )
        if thing["kind"] == "ScaledObject":
            assert ("Deployment", thing["spec"]["scaleTargetRef"]["name"]) in named
            for trigger in thing["spec"]["triggers"]:
                assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in named
                assert trigger["metadata"]["url"] == "http://rota-server.rota.svc:8000/v1/stats"
                assert trigger["metadata"]["valueLocation"] in ("jobs.queued", "jobs.running")


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "systemd")
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        here = tmp_path / unit.name
        here.write_text(unit.read_text().replace("/opt/rota/bin/rota", "/bin/true"))
        said = subprocess.run([analyze, "verify", "--man=no", here], capture_output=True, text=True, timeout=60)
        complaints = [line for line in said.stderr.splitlines() if unit.name in line]
        assert said.returncode == 0 and complaints == [], said.stderr
