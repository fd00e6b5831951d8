"""Manifests against Kubernetes' schemas, ours of KubeRay, Serve's own, and what the program takes.

Nothing here has a cluster: that pods start is not tested.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from sparsight_cloud.serving.ray_build import BuildArgs, build

from .given import DEPLOY, DEVICES_PORT, GATEWAY_METRICS_PORT, HEALTH_PORT, ROOT, parsed
from .kuberay import SCHEMAS

FOLDER = DEPLOY / "kubernetes"
KUBERNETES = "1.34"
"""Whose schemas are taken; grpc probes and sleeping before the end are older."""

USER = 10001
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """Every resource of every list."""
    found: list[Manifest] = []
    for kustomization in sorted(FOLDER.rglob("kustomization.yaml")):
        for name in yaml.safe_load(kustomization.read_text())["resources"]:
            found += yaml.safe_load_all((kustomization.parent / name).read_text())
    return found


def one(kind: str, name: str) -> Manifest:
    (found,) = [
        manifest
        for manifest in manifests()
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name
    ]
    return found


def ray() -> Manifest:
    spec: Manifest = one("RayService", "sparsight")["spec"]
    return spec


def templates() -> dict[str, Manifest]:
    """Every template of a pod, by its component."""
    cluster = ray()["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    found = [group["template"] for group in groups]
    found.append(one("StatefulSet", "gateway")["spec"]["template"])
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in found}


def check(manifest: Manifest) -> None:
    schema = SCHEMAS.get(manifest["kind"])
    if schema is not None:
        jsonschema.validate(manifest, schema)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def everything() -> Iterator[Manifest]:
    yield from manifests()
    for component, pod in templates().items():
        labels = {"app": component}
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": component},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        }


@pytest.mark.parametrize(
    "manifest", list(everything()), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}"
)
def test_a_manifest_keeps_to_its_schema(manifest: Manifest) -> None:
    check(manifest)


def test_fields_that_there_are_not_are_found() -> None:
    """That the test above can fail."""
    cases: dict[str, list[Any]] = {
        "StatefulSet": ["spec", "template", "spec", "containers", 0],
        "RayService": ["spec", "rayClusterConfig", "headGroupSpec"],
        "PodMonitor": ["spec", "podMetricsEndpoints", 0],
    }
    for kind, path in cases.items():
        manifest: Manifest
        (manifest,) = [copy.deepcopy(m) for m in manifests() if m["kind"] == kind]
        part: Any = manifest
        for step in path:
            part = part[step]
        part["imagePullPolice"] = "Always"
        with pytest.raises(jsonschema.ValidationError, match="imagePullPolice"):
            check(manifest)


def test_every_file_is_in_a_list() -> None:
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        listed = set(yaml.safe_load(kustomization.read_text())["resources"])
        there = {path.name for path in kustomization.parent.glob("*.yaml")}
        assert listed == there - {kustomization.name}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "monitoring"], ids=lambda path: path.name)
def test_kustomize_builds_it(folder: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True)
    built = list(yaml.safe_load_all(done.stdout))
    for manifest in built:
        check(manifest)
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "sparsight"


# In a process of its own: Ray reads its environment when it is imported, and other tests set it.
_BY_SERVE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ray.serve.schema import ServeDeploySchema
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
from ray._common.utils import import_attr

config, bundle = json.load(sys.stdin)
checked = ServeDeploySchema.model_validate(config)
(app,) = checked.applications
built = build(import_attr(app.import_path), {**app.args, "bundles": [bundle]})._bound_deployment
told = {
    "proxies": str(checked.proxy_location.value),
    "route": app.route_prefix,
    "deployment": built.name,
    "replicas": built.num_replicas,
    "cpus": built.ray_actor_options["num_cpus"],
    "on_loopback": built.init_kwargs["on_loopback"],
    "serves": len(built.user_config["bundles"]),
}
print(json.dumps(told))
"""


def test_serve_takes_its_config_and_builds_the_application() -> None:
    """By the same calls that a cluster makes, with the same arguments but for the folder."""
    config = yaml.safe_load(ray()["serveConfigV2"])
    (app,) = config["applications"]
    done = subprocess.run(
        [sys.executable, "-c", _BY_SERVE],
        input=json.dumps([config, str(ROOT / "models" / "default")]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        # Serve's proxies would listen on every interface, and nobody asks them.
        "proxies": "Disabled",
        "route": None,
        "deployment": "replica",
        "replicas": app["args"]["replicas"],
        "cpus": app["args"]["cpus"],
        "on_loopback": False,
        # What gateways that join read there.
        "serves": 1,
    }
    assert app["import_path"] == f"{build.__module__}:{build.__name__}"


def test_replicas_fit_the_workers() -> None:
    (app,) = yaml.safe_load(ray()["serveConfigV2"])["applications"]
    count = BuildArgs.model_validate(app["args"]).counted()
    (workers,) = ray()["rayClusterConfig"]["workerGroupSpecs"]
    room = workers["replicas"] * int(workers["rayStartParams"]["num-cpus"])
    assert not count.scales and count.n * count.cpus == room
    (container,) = templates()["replica"]["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == workers["rayStartParams"]["num-cpus"]
    assert ray()["rayClusterConfig"]["rayVersion"] == version("ray")
    assert BuildArgs.model_validate({**app["args"], "replicas": "2-8"}).counted().most == 8
    with pytest.raises(ValueError, match="replica_count"):
        BuildArgs.model_validate({**app["args"], "replica_count": 2})


def gateway() -> Manifest:
    (container,) = templates()["gateway"]["spec"]["containers"]
    found: Manifest = container
    return found


def gateway_words() -> list[list[str]]:
    """The script's commands, a list of words each."""
    assert gateway()["command"] == ["/bin/bash", "-ec"]
    (script,) = gateway()["args"]
    lines = script.replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line) for line in lines]


def test_a_gateway_joins_the_application_of_the_cluster() -> None:
    (_, _, *words) = gateway_words()[1]
    settings = parsed(words)
    (app,) = yaml.safe_load(ray()["serveConfigV2"])["applications"]
    assert settings["app"] == app["name"]


def test_a_gateways_command_fits_its_pod() -> None:
    node, (run, program, *words) = gateway_words()
    assert node[:2] == ["ray", "start"] and "--num-cpus=0" in node
    assert [run, program] == ["exec", "sparsight"]
    settings = parsed(words)
    assert settings["listen"] == f"0.0.0.0:{DEVICES_PORT}"
    assert settings["health"] == f"0.0.0.0:{HEALTH_PORT}"
    assert settings["metrics"] == f"0.0.0.0:{GATEWAY_METRICS_PORT}"
    ports = {port["name"]: port["containerPort"] for port in gateway()["ports"]}
    assert ports == {
        "devices": DEVICES_PORT,
        "health": HEALTH_PORT,
        "metrics": GATEWAY_METRICS_PORT,
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert gateway()[probe]["grpc"] == {"port": HEALTH_PORT}
    mounted = {mount["mountPath"] for mount in gateway()["volumeMounts"]}
    assert {str(settings["out"]), str(settings["pki"])} <= mounted
    told = {variable["name"]: variable for variable in gateway()["env"]}
    assert settings["address"] == node[2].partition("=")[2] == "$RAY_HEAD"
    # KubeRay's name for the Service of a RayService's head.
    assert told["RAY_HEAD"]["value"] == "sparsight-head-svc:6379"
    assert told["RAY_AUTH_MODE"]["value"] == "token"
    token = told["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    auth = ray()["rayClusterConfig"]["authOptions"]
    assert (auth["mode"], auth["secretName"]) == ("token", token["name"])
    assert token["key"] == "auth_token"


def test_pods_have_no_more_rights_than_they_need() -> None:
    for component, pod in templates().items():
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] == USER, component
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, component
        assert spec["automountServiceAccountToken"] is False, component
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, component
            assert own["capabilities"] == {"drop": ["ALL"]}, component
            assert {"requests", "limits"} <= set(container["resources"]), component
        for container in spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), component


def test_no_secret_is_written_down() -> None:
    assert [m["metadata"]["name"] for m in manifests() if m["kind"] == "Secret"] == []
    for pod in templates().values():
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", ()):
                assert "TOKEN" not in variable["name"] or "value" not in variable


def test_selectors_find_pods() -> None:
    """Of Services, budgets, monitors and policies, so that none of them is for nobody."""
    labels = {name: pod["metadata"]["labels"] for name, pod in templates().items()}

    def found(selector: Manifest) -> set[str]:
        wanted = selector.items()
        return {name for name, own in labels.items() if wanted <= own.items()}

    for manifest in manifests():
        name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
        if manifest["kind"] == "Service":
            assert found(spec["selector"]) == {"gateway"}
            for port in spec["ports"]:
                assert port["targetPort"] in {p["name"] for p in gateway()["ports"]}
        elif manifest["kind"] in ("PodDisruptionBudget", "StatefulSet", "PodMonitor"):
            assert found(spec["selector"]["matchLabels"]) == {name}
    assert one("StatefulSet", "gateway")["spec"]["serviceName"] == "gateway-pods"
    assert one("StatefulSet", "gateway")["spec"]["replicas"] >= 2


def test_who_may_reach_whom() -> None:
    policies = {
        m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "NetworkPolicy"
    }
    nobody = policies.pop("nobody")
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    member = {"podSelector": {"matchLabels": {"sparsight/ray": "member"}}}
    assert all(
        pod["metadata"]["labels"]["sparsight/ray"] == "member" for pod in templates().values()
    )
    let_in = {
        name: (policy["podSelector"]["matchLabels"], rule)
        for name, policy in policies.items()
        for rule in policy["ingress"]
    }
    # All ports are for members of Ray's cluster alone; everyone else gets one port.
    all_ports = {name for name, (_, rule) in let_in.items() if "ports" not in rule}
    assert all_ports == {"ray-members"} and let_in["ray-members"][1] == {"from": [member]}
    from_anywhere = {name for name, (_, rule) in let_in.items() if "from" not in rule}
    assert from_anywhere == {"devices-to-gateway"}
    ports = {
        name: (pods["app.kubernetes.io/component"], *(port["port"] for port in rule["ports"]))
        for name, (pods, rule) in let_in.items()
        if "ports" in rule
    }
    assert ports == {
        "operator-to-head": ("head", 8265),
        "devices-to-gateway": ("gateway", DEVICES_PORT),
        "prometheus-to-gateway": ("gateway", GATEWAY_METRICS_PORT),
    }
    outside = [
        to for policy in policies.values() for rule in policy.get("egress", ()) for to in rule["to"]
    ]
    assert [to for to in outside if to != member and "k8s-app" not in str(to)] == []


def test_alerts_and_dashboard_find_what_is_scraped() -> None:
    (endpoint,) = one("PodMonitor", "gateway")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in gateway()["ports"]}
    jobs = {r["replacement"] for r in endpoint["relabelings"] if r["targetLabel"] == "job"}
    assert jobs == {"sparsight-gateway"}
    assert 'job="sparsight-gateway"' in (DEPLOY / "prometheus" / "alerts.yml").read_text()


def test_alerts_are_a_rule_of_the_operator_as_well() -> None:
    """As docs/kubernetes.md makes one: the file, two spaces to the right."""
    head = (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: a}\nspec:\n"
    )
    lines = (DEPLOY / "prometheus" / "alerts.yml").read_text().splitlines()
    rule = yaml.safe_load(head + "\n".join(f"  {line}" for line in lines))
    assert [group["name"] for group in rule["spec"]["groups"]] == [
        "sparsight-gateway",
        "sparsight-edge",
    ]
