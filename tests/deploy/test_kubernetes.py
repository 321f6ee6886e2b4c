"""What the manifests of deploy/kubernetes come to, and whether they agree with the rest of the project."""

import base64
import copy
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import PREFIX, Settings, read_settings
from tests.conformance.clients import ROOT
from tests.conftest import running_service
from tests.deploy.manifests import (
    DOCUMENT,
    MANIFESTS,
    OVERLAYS,
    Object,
    Rendered,
    checkov_faults,
    container_of,
    kustomize,
    labels_of,
    name_of,
    parsed,
    pod_monitor_without_unknown_fields,
    pod_of,
    rendered,
    schema_faults,
)

pytestmark = pytest.mark.timeout(300)  # the tools' environment is made by whoever needs it first

COMPONENT = "app.kubernetes.io/component"
SECRETS = ("secrets.env", "redis.env")


@pytest.fixture(scope="session")
def deployable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests with the secrets that the document says how to make."""
    copied = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(MANIFESTS, copied, ignore=shutil.ignore_patterns(*SECRETS))
    tokens, of_redis = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for overlay, script in (("single", tokens), ("cluster", tokens), ("cluster", of_redis)):
        subprocess.run(["sh", "-euc", script], cwd=copied / "overlays" / overlay, check=True)
    return copied


@pytest.fixture(scope="session")
def overlays(deployable: Path) -> dict[str, Rendered]:
    return {name: rendered(deployable / "overlays" / name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, overlays: dict[str, Rendered]) -> Rendered:
    return overlays[request.param]


@pytest.fixture(scope="session")
def cluster(overlays: dict[str, Rendered]) -> Rendered:
    return overlays["cluster"]


@pytest.fixture(scope="session")
def with_components(deployable: Path) -> Rendered:
    """The cluster with the components that its kustomization has as comments."""
    folder = deployable / "overlays" / "with-components"
    shutil.copytree(deployable / "overlays" / "cluster", folder)
    kustomization = folder / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("# - ../../components", "- ../../components"))
    return rendered(folder)


@pytest.fixture(scope="session")
def compose() -> Object:
    (document,) = parsed((ROOT / "docker-compose.yml").read_text())
    found: Object = document["services"]["service"]
    return found


@pytest.fixture(scope="module")
def as_deployed(cluster: Rendered) -> Iterator[httpx.Client]:
    """The service with the settings of its pods, but those of others' parts and the Redis that is not there."""
    settings = {name: value for name, value in environment(cluster).items() if not name.endswith("_REDIS_URL")}
    with running_service(**settings) as service, httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def secrets_of(overlay: Rendered) -> dict[str, str]:
    secrets = overlay.of_kind("Secret")
    return {key: base64.b64decode(value).decode() for each in secrets for key, value in each["data"].items()}


def environment(overlay: Rendered) -> dict[str, str]:
    """The variables of the service's container, as the kubelet makes them: links, then ConfigMap, then `env`."""
    deployment = overlay.one("Deployment")
    links: dict[str, str] = {}
    if pod_of(deployment)["enableServiceLinks"]:
        for service in overlay.of_kind("Service"):
            link = name_of(service).upper().replace("-", "_")
            links |= {f"{link}_SERVICE_HOST": "10.0.0.7", f"{link}_PORT": "tcp://10.0.0.7:1"}
    found: dict[str, str] = links | overlay.one("ConfigMap")["data"]
    for each in container_of(deployment)["env"]:
        value = each.get("value") or secrets_of(overlay)[each["valueFrom"]["secretKeyRef"]["key"]]
        found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
    return found


def without(missing: str, deployable: Path, place: Path) -> Path:
    """Copies the manifests with their secrets, but for one file in each overlay."""
    return shutil.copytree(deployable, place / "kubernetes", ignore=shutil.ignore_patterns(missing))


@pytest.mark.parametrize(
    ("name", "missing"),
    [(name, missing) for name in OVERLAYS for missing in SECRETS if (name, missing) != ("single", "redis.env")],
)
def test_no_overlay_can_be_rendered_without_its_secrets(
    deployable: Path, name: str, missing: str, tmp_path: Path
) -> None:
    refused = kustomize(without(missing, deployable, tmp_path) / "overlays" / name)
    assert refused.returncode != 0
    assert missing in refused.stderr
    assert refused.stdout == ""


def documents(overlay: Rendered) -> dict[tuple[str, str], str]:
    """The text of each object, by its kind and its name without a hash."""
    texts = overlay.path.read_text().split("\n---\n")
    assert len(texts) == len(overlay.objects)
    return {
        (each["kind"], re.sub(r"-[a-z0-9]{10}$", "", name_of(each))): text
        for each, text in zip(overlay.objects, texts, strict=True)
    }


@pytest.mark.parametrize("key", ["api-tokens", "evaluation-token", "redis-password"])
def test_another_token_leaves_redis_as_it_is_and_another_password_does_not(
    deployable: Path, cluster: Rendered, tmp_path: Path, key: str
) -> None:
    folder = without("nothing", deployable, tmp_path) / "overlays" / "cluster"
    secrets = folder / ("redis.env" if key == "redis-password" else "secrets.env")
    rotated = re.sub(rf"^{key}=.*$", f"{key}={64 * 'f'}", secrets.read_text(), flags=re.MULTILINE)
    assert rotated != secrets.read_text()
    secrets.write_text(rotated)
    before, after = documents(cluster), documents(rendered(folder))
    assert before.keys() == after.keys()
    changed = {kind for kind, name in before if before[kind, name] != after[kind, name]}
    assert changed == {"Secret", "Deployment"} | ({"StatefulSet"} if key == "redis-password" else set())


def test_secrets_stay_out_of_the_repository_and_out_of_all_objects_but_the_secret(overlay: Rendered) -> None:
    for file in SECRETS:
        subprocess.run(["git", "check-ignore", "-q", str(MANIFESTS / "overlays/cluster" / file)], cwd=ROOT, check=True)
    rest = json.dumps([each for each in overlay.objects if each["kind"] != "Secret"])
    for value in secrets_of(overlay).values():
        assert len(value) == 64
        assert value not in rest
        assert base64.b64encode(value.encode()).decode() not in rest
    committed = [path.read_text() for path in MANIFESTS.rglob("*") if path.is_file() and path.name not in SECRETS]
    assert not [text for text in committed if re.search(r"^kind: Secret$|[0-9a-fA-F]{32}", text, re.MULTILINE)]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_every_object_fits_kubernetes_own_schemas(overlay: Rendered, version: str) -> None:
    assert schema_faults(overlay.path, version) == []


def test_a_misspelt_field_does_not(cluster: Rendered, tmp_path: Path) -> None:
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(cluster.path.read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem", 1))
    (fault,) = schema_faults(misspelt, "1.37")
    assert "readOnlyRootFileSystem" in fault


def test_checkov_finds_nothing_but_what_is_expected(overlays: dict[str, Rendered], tmp_path: Path) -> None:
    weakened = tmp_path / "weakened.yaml"
    weakened.write_text(overlays["single"].path.read_text().replace("privileged: false", "privileged: true"))
    paths = [overlays["cluster"].path, overlays["single"].path, overlays["gvisor"].path]
    assert checkov_faults([*paths, weakened]) == {("CKV_K8S_16", "Deployment.default.resilience-gauntlet")}


def test_every_container_is_as_hardened_as_composes(overlay: Rendered, compose: Object) -> None:
    assert (compose["read_only"], compose["cap_drop"], compose["security_opt"]) == (
        True, ["ALL"], ["no-new-privileges:true"],
    )  # fmt: skip
    for workload in overlay.workloads():
        pod = pod_of(workload)
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "initContainers"} & pod.keys()
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["runAsUser"] >= 10001 <= context["runAsGroup"]
        assert container_of(workload)["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        resources = container_of(workload)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}


def test_user_memory_and_image_are_composes(overlay: Rendered, compose: Object) -> None:
    deployment = overlay.one("Deployment")
    context, container = pod_of(deployment)["securityContext"], container_of(deployment)
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == compose["user"]
    memory = compose["mem_limit"].replace("g", "Gi")
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == memory
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"] == f"{compose['image']}:{version}"


def test_selectors_select_what_there_is(overlay: Rendered) -> None:
    pods = {labels_of(workload)[COMPONENT]: labels_of(workload) for workload in overlay.workloads()}
    selectors = [workload["spec"]["selector"]["matchLabels"] for workload in overlay.workloads()]
    selectors += [service["spec"]["selector"] for service in overlay.of_kind("Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in overlay.of_kind("PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in overlay.of_kind("NetworkPolicy")]
    spread = pod_of(overlay.one("Deployment"))["topologySpreadConstraints"]
    selectors += [each["labelSelector"]["matchLabels"] for each in spread]
    assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for selector in selectors:
        assert selector.items() <= pods[selector[COMPONENT]].items()
    for service in overlay.of_kind("Service"):
        (workload,) = [each for each in overlay.workloads() if name_of(each) == name_of(service)]
        (offered,) = container_of(workload)["ports"]
        assert (service["spec"]["ports"][0]["targetPort"], service["spec"]["ports"][0]["port"]) == (
            offered["name"], offered["containerPort"],
        )  # fmt: skip


def test_the_service_reaches_redis_and_nobody_else(overlay: Rendered) -> None:
    policies = [each["spec"] for each in overlay.of_kind("NetworkPolicy")]
    covered = {each["podSelector"]["matchLabels"][COMPONENT] for each in policies if "Egress" in each["policyTypes"]}
    assert covered == {labels_of(workload)[COMPONENT] for workload in overlay.workloads()}
    ways_out = [(each["podSelector"]["matchLabels"], way) for each in policies for way in each.get("egress", [])]
    if not overlay.of_kind("StatefulSet"):
        assert ways_out == []
        return
    ((source, way),) = ways_out
    redis = overlay.one("StatefulSet", "resilience-gauntlet-redis")
    assert source == labels_of(overlay.one("Deployment"))
    assert way["to"] == [{"podSelector": {"matchLabels": labels_of(redis)}}]
    assert way["ports"] == [{"protocol": "TCP", "port": container_of(redis)["ports"][0]["containerPort"]}]


def test_only_labelled_clients_and_prometheus_reach_the_service_and_only_the_service_reaches_redis(
    cluster: Rendered,
) -> None:
    clients = {"matchLabels": {"gauntlet-client": "true"}}
    monitoring = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    port = container_of(cluster.one("Deployment"))["ports"][0]["containerPort"]
    policy = cluster.one("NetworkPolicy")["spec"]
    assert [way["from"] for way in policy["ingress"]] == [
        [{"podSelector": clients}, {"namespaceSelector": clients}], [monitoring],
    ]  # fmt: skip
    assert [way["ports"] for way in policy["ingress"]] == [[{"protocol": "TCP", "port": port}]] * 2
    (way,) = cluster.one("NetworkPolicy", "resilience-gauntlet-redis")["spec"]["ingress"]
    assert way["from"] == [{"podSelector": {"matchLabels": labels_of(cluster.one("Deployment"))}}]


def test_redis_is_found_without_dns(cluster: Rendered) -> None:
    redis = cluster.one("Service", "resilience-gauntlet-redis")
    password, port = secrets_of(cluster)["redis-password"], redis["spec"]["ports"][0]["port"]
    assert environment(cluster)["GAUNTLET_REDIS_URL"] == f"redis://:{password}@10.0.0.7:{port}/0"
    kinds = [each["kind"] for each in cluster.objects]
    last_service = len(kinds) - kinds[::-1].index("Service")
    assert last_service <= kinds.index("Deployment")  # or its first pods would know no address


def test_what_the_pods_are_given_the_service_takes(overlay: Rendered) -> None:
    given = environment(overlay)
    settings = read_settings(given)
    assert settings.evaluation_token is not None
    assert settings.evaluation_token.get_secret_value() == secrets_of(overlay)["evaluation-token"]
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in given if name.startswith(PREFIX)} <= fields
    for workload in overlay.workloads():
        references = [
            each["valueFrom"]["secretKeyRef"] for each in container_of(workload)["env"] if "value" not in each
        ]
        for each in references:
            (secret,) = [found for found in overlay.of_kind("Secret") if name_of(found) == each["name"]]
            assert each["key"] in secret["data"]
        assert not [each for each in references if each.get("optional")]


def test_concurrency_fits_the_processors_and_the_memory_of_a_pod(cluster: Rendered) -> None:
    settings = read_settings(environment(cluster))
    limits = container_of(cluster.one("Deployment"))["resources"]["limits"]
    assert settings.concurrency == 4 * int(limits["cpu"])
    assert settings.pool_high == max(16, 4 * int(limits["cpu"]))
    assert settings.concurrency * settings.memory_mib < 1024 * int(limits["memory"].removesuffix("Gi"))


def test_a_pod_has_time_to_drain(overlay: Rendered, compose: Object) -> None:
    deployment = overlay.one("Deployment")
    away = container_of(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = read_settings(environment(overlay)).drain_s
    end = int(compose["stop_grace_period"].removesuffix("s")) - Settings().drain_s
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= away + drain + end


def test_probes_and_scrapes_ask_for_paths_that_there_are(overlay: Rendered, as_deployed: httpx.Client) -> None:
    template = overlay.one("Deployment")["spec"]["template"]
    container, annotations = template["spec"]["containers"][0], template["metadata"]["annotations"]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/ready", "/ready", "/health"]
    assert {probe["port"] for probe in probes} == {container["ports"][0]["name"]}
    assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    for path in ["/ready", "/health", annotations["prometheus.io/path"]]:
        assert "get" in create_app(Settings()).openapi()["paths"][path]
        assert as_deployed.get(path).status_code == 200
    assert as_deployed.get("/health").json()["capacity"]["concurrency"] == 8


def test_the_autoscaler_scales_the_deployment_by_a_metric_that_the_service_has(
    cluster: Rendered, as_deployed: httpx.Client
) -> None:
    autoscaler, deployment = cluster.one("HorizontalPodAutoscaler")["spec"], cluster.one("Deployment")
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": name_of(deployment)}
    assert autoscaler["scaleTargetRef"] == target
    assert "replicas" not in deployment["spec"]
    assert autoscaler["minReplicas"] == 3 < autoscaler["maxReplicas"]
    by_calls, by_processor = autoscaler["metrics"]
    assert by_processor["resource"]["name"] == "cpu"
    assert by_calls["pods"]["target"]["averageValue"] == cluster.one("ConfigMap")["data"]["GAUNTLET_CONCURRENCY"]
    (values,) = parsed((MANIFESTS / "prometheus-adapter.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    metric = by_calls["pods"]["metric"]["name"]
    assert rule["name"] == {"as": metric}
    assert rule["seriesQuery"].partition("{")[0] == metric
    assert f"\n{metric} 0.0\n" in as_deployed.get("/metrics").text


def test_the_disruption_budget_leaves_all_replicas_but_one(cluster: Rendered) -> None:
    budget = cluster.one("PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == labels_of(cluster.one("Deployment"))
    assert budget["maxUnavailable"] == 1


def test_an_image_pushed_elsewhere_is_put_in_as_the_document_shows(deployable: Path) -> None:
    folder = deployable / "overlays" / "pushed"
    shutil.copytree(deployable / "overlays" / "cluster", folder)
    shown = DOCUMENT.read_text().split("```yaml\n", 1)[1].split("```", 1)[0]
    digest = 64 * "0"
    with (folder / "kustomization.yaml").open("a") as kustomization:
        kustomization.write(shown.replace("REGISTRY", "registry.example").replace("DIGEST", digest))
    image = container_of(rendered(folder).one("Deployment"))["image"]
    assert image == f"registry.example/resilience-gauntlet-service@sha256:{digest}"


def test_one_replica_is_never_two_and_holds_up_no_drain(overlays: dict[str, Rendered]) -> None:
    single = overlays["single"]
    deployment = single.one("Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    kinds = {each["kind"] for each in single.objects}
    assert kinds == {"ConfigMap", "Secret", "Service", "Deployment", "NetworkPolicy"}
    assert "GAUNTLET_REDIS_URL" not in environment(single)


def test_gvisors_overlay_is_the_cluster_with_another_runtime_and_without_landlock(
    cluster: Rendered, overlays: dict[str, Rendered]
) -> None:
    expected, found = copy.deepcopy(cluster.objects), copy.deepcopy(overlays["gvisor"].objects)
    gvisor = overlays["gvisor"]
    assert read_settings(environment(gvisor)).sandbox_allow_weaker == {"landlock"}
    assert pod_of(gvisor.one("Deployment"))["runtimeClassName"] == "gvisor"
    for objects in (expected, found):
        for each in objects:
            if each["kind"] == "ConfigMap" and "GAUNTLET_CONCURRENCY" in each["data"]:
                each["metadata"]["name"] = each["data"].pop("GAUNTLET_SANDBOX_ALLOW_WEAKER", "") and ""
            elif each["kind"] == "Deployment":
                pod_of(each).pop("runtimeClassName", None)
                container_of(each)["envFrom"] = []
    assert found == expected


def test_redis_volume_takes_the_place_of_its_memory(with_components: Rendered) -> None:
    (unknown,) = schema_faults(with_components.path, "1.37")
    assert "find schema for kind PodMonitor" in unknown
    redis = with_components.one("StatefulSet", "resilience-gauntlet-redis")
    assert {"name": "APPENDONLY", "value": "yes"} in container_of(redis)["env"]
    assert [volume["name"] for volume in pod_of(redis)["volumes"]] == ["config"]
    (claim,) = redis["spec"]["volumeClaimTemplates"]
    mounted = {mount["name"] for mount in container_of(redis)["volumeMounts"]}
    assert mounted == {"config", name_of(claim)}


def test_the_pod_monitor_is_one_and_finds_the_pods(with_components: Rendered) -> None:
    monitor, deployment = with_components.one("PodMonitor"), with_components.one("Deployment")
    assert pod_monitor_without_unknown_fields(monitor) == monitor
    misspelt = json.loads(json.dumps(monitor).replace('"interval"', '"intervall"'))
    assert pod_monitor_without_unknown_fields(misspelt) != misspelt
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels_of(deployment).items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == container_of(deployment)["ports"][0]["name"]
    assert endpoint["path"] == "/metrics"


def test_the_document_names_every_object_and_every_folder(with_components: Rendered) -> None:
    document = DOCUMENT.read_text()
    for folder in [*MANIFESTS.glob("overlays/*"), *MANIFESTS.glob("components/*"), MANIFESTS / "base"]:
        assert f"`{folder.relative_to(MANIFESTS)}`" in document
    for kind in {each["kind"] for each in with_components.objects}:
        assert kind.removesuffix("y") in document
