"""The fields of KubeRay's and the Prometheus operator's resources that we use, as JSON schemas.

Written from KubeRay 1.7's and the Prometheus operator's Go types; everything else is refused, so a
field that is misspelt is found. Templates of pods are Kubernetes' own, and are checked as such.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def thing(required: str, **properties: Schema) -> Schema:
    """An object of just these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
WORDS: Schema = {"type": "object", "additionalProperties": TEXT}
METADATA = thing("name", name=TEXT, namespace=TEXT, labels=WORDS, annotations=WORDS)
TEMPLATE: Schema = {"type": "object", "required": ["spec"]}


def resource(api: str, kind: str, spec: Schema) -> Schema:
    """A whole resource."""
    return thing(
        "apiVersion kind metadata spec",
        apiVersion={"const": api},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )


RAY_CLUSTER = thing(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=thing("mode secretName", mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    # Values of `ray start`'s parameters are text, numbers too.
    headGroupSpec=thing("rayStartParams template", rayStartParams=WORDS, template=TEMPLATE),
    workerGroupSpecs={
        "type": "array",
        "minItems": 1,
        "items": thing(
            "groupName replicas minReplicas maxReplicas rayStartParams template",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=WORDS,
            template=TEMPLATE,
        ),
    },
)

RAY_SERVICE = resource(
    "ray.io/v1",
    "RayService",
    thing(
        "serveConfigV2 rayClusterConfig",
        serveConfigV2=TEXT,
        upgradeStrategy=thing(
            "type", type={"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}
        ),
        excludeHeadPodFromServeSvc=FLAG,
        rayClusterConfig=RAY_CLUSTER,
    ),
)

POD_MONITOR = resource(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    thing(
        "selector podMetricsEndpoints",
        selector=thing("matchLabels", matchLabels=WORDS),
        podMetricsEndpoints={
            "type": "array",
            "minItems": 1,
            "items": thing(
                "port",
                port=TEXT,
                path=TEXT,
                interval={"type": "string", "pattern": r"^\d+s$"},
                relabelings={
                    "type": "array",
                    "items": thing(
                        "targetLabel",
                        targetLabel=TEXT,
                        replacement=TEXT,
                        sourceLabels={"type": "array", "items": TEXT},
                    ),
                },
            ),
        },
    ),
)

SCHEMAS = {"RayService": RAY_SERVICE, "PodMonitor": POD_MONITOR}
