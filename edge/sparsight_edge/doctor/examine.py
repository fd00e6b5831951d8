"""All checks in the order in which they matter, each on what the ones before have found.

bundle ─ engine ─ camera ─ disk ─ certificate ─ link ─ cloud ─ clock
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sparsight.errors import SparsightError
from sparsight_edge.doctor.camera import check_camera
from sparsight_edge.doctor.compute import check_model
from sparsight_edge.doctor.disk import check_disk, is_in_use
from sparsight_edge.doctor.finding import Check, Finding
from sparsight_edge.doctor.identity import check_certificate, check_clock
from sparsight_edge.doctor.link import check_cloud, check_link
from sparsight_edge.doctor.papers import Paper
from sparsight_edge.model import EdgeModel
from sparsight_edge.plan import device_name, find_endpoint, spool_folder
from sparsight_edge.settings import EdgeSettings


def examine(settings: EdgeSettings) -> Iterator[Finding]:
    """Look at everything that an agent with these settings needs.

    Yields:
        What was found, as soon as it is.
    """
    model: EdgeModel | None = None
    for one in check_model(settings.model):
        if isinstance(one, Finding):
            yield one
        else:
            model = one
    yield check_camera(settings.source)
    try:
        device = device_name(settings.cloud)
    except SparsightError as error:
        yield Finding("certificate", "fail", str(error), "give another --device")
        return
    folder = spool_folder(settings, device)
    yield check_disk(folder, settings.spool.max_mb * 1_000_000)
    try:
        endpoint = find_endpoint(settings.cloud)
    except SparsightError as error:
        check: Check = "certificate" if settings.cloud.cert else "link"
        yield Finding(check, "fail", str(error), "see --cloud, --cert, --key, --ca and --insecure")
        yield check_clock([], None)
        return
    finding, paper = check_certificate(endpoint, device)
    yield finding
    papers = [] if paper is None else [paper]
    reached = False
    for said in check_link(endpoint):
        if isinstance(said, Paper):
            papers.append(said)
            continue
        reached = said.verdict == "ok"
        yield said
    skew = None
    if not reached or model is None:
        yield Finding("cloud", "skip", "not asked, since it can't be reached or there is no bundle")
    elif is_in_use(folder):
        yield Finding("cloud", "skip", f"an agent runs on {folder}; its stream is not interrupted")
    else:
        finding, skew = check_cloud(endpoint, device, model.bundle_id, int(time.time()))
        yield finding
    yield check_clock(papers, skew)
