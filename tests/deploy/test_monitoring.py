"""Dashboard and alerts ask for figures that are served, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.edge.small.figures import FULL

from sparsight.wire import CloudTimes, FrameStatus
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_edge.metrics import AgentCollector

from .given import DEPLOY, EDGE_METRICS_PORT, GATEWAY_METRICS_PORT

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SCRAPED = DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "sparsight.json"
PROVISIONED = DEPLOY / "grafana" / "provisioning"

OF_PROMETHEUS = {"up": {"job", "instance"}}
ADDED = {"job", "instance", "__name__"}
"""Labels that Prometheus puts to every series."""


@pytest.fixture(scope="module")
def served() -> dict[str, dict[str, set[str]]]:
    """Every series' name, with its labels and the values that they take."""
    gateway = GatewayMetrics()
    gateway.saw_result(FrameStatus.OK, CloudTimes(1.0, 1.0, 1.0))
    agent = CollectorRegistry()
    agent.register(AgentCollector(lambda: FULL))
    names: dict[str, dict[str, set[str]]] = {}
    for registry in (gateway.registry, agent):
        for metric in registry.collect():
            for sample in metric.samples:
                labels = names.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return names


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    board = json.loads(DASHBOARD.read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked() -> Iterator[tuple[str, str]]:
    """Every query, by who asks."""
    for name, rule in alerts().items():
        yield name, rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            # What Grafana puts in.
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def selectors(query: str) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(promql.parse(query), visit)
    return found


@pytest.mark.parametrize(("who", "query"), list(asked()))
def test_what_is_asked_for_is_served(
    who: str, query: str, served: dict[str, dict[str, set[str]]]
) -> None:
    found = selectors(query)
    assert found, who
    for selector in found:
        name = str(selector.name)
        if name in OF_PROMETHEUS:
            continue
        assert name in served, f"{who}: nobody serves {name}"
        for matcher in selector.matchers.matchers:
            if matcher.name in ADDED:
                continue
            values = served[name][matcher.name]
            assert set(matcher.value.split("|")) <= values, f"{who}: {matcher.name}"
    grouped = re.findall(r"\bby \(([^)]*)\)", query)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    known = {label for selector in found for label in served.get(str(selector.name), ())}
    assert labels <= known | ADDED, who


def test_a_selector_without_its_metric_is_found(served: dict[str, dict[str, set[str]]]) -> None:
    """That the test above can fail."""
    (selector,) = selectors('rate(sparsight_gateway_frames{status="ok"}[5m])')
    assert selector.name not in served
    with pytest.raises(ValueError, match="unclosed"):
        promql.parse("sum by (rate(up[5m])")


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert set(rule["labels"]) == {"severity"}, name
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert set(rule["annotations"]) == {"summary", "description"}, name
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label == "instance" or f"by (instance, {label})" in rule["expr"], name


def test_what_is_scraped_is_what_compose_runs() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    config = yaml.safe_load(SCRAPED.read_text())
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    ports = {"sparsight-gateway": GATEWAY_METRICS_PORT, "sparsight-edge": EDGE_METRICS_PORT}
    assert set(jobs) == set(ports)
    for job, targets in jobs.items():
        for target in targets:
            host, _, port = target.partition(":")
            assert host in compose and port == str(ports[job])
            assert set(compose[host]["networks"]) & set(compose["prometheus"]["networks"])
    for query in (rule["expr"] for rule in alerts().values()):
        assert set(re.findall(r'job="([^"]*)"', query)) <= set(jobs)
    (rules,) = config["rule_files"]
    mounted = " ".join(compose["prometheus"]["volumes"])
    assert f"../prometheus/{rules}:/etc/prometheus/{rules}" in mounted


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z_]+)", DASHBOARD.read_text()))
    assert used <= variables | {"__rate_interval", "__all"}
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"].endswith("."), panel["title"]


def test_grafana_finds_dashboard_and_prometheus() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    (source,) = yaml.safe_load((PROVISIONED / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert compose["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    (provider,) = yaml.safe_load((PROVISIONED / "dashboards" / "sparsight.yaml").read_text())[
        "providers"
    ]
    where = provider["options"]["path"]
    assert f"../grafana/dashboards:{where}:ro" in compose["grafana"]["volumes"]
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{where}/{DASHBOARD.name}"
