"""The compose file: names lead somewhere, commands parse, and its script deals out keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsight_cloud.serving.pki import read_issued

from .given import (
    DEPLOY,
    DEVICES_PORT,
    EDGE_METRICS_PORT,
    GATEWAY_METRICS_PORT,
    parsed,
    unknown_variables,
)

FOLDER = DEPLOY / "compose"
DRONES = ("drone-1", "drone-2")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return whole


def sources(service: dict[str, Any]) -> dict[str, str]:
    """What is mounted, by where."""
    pairs = (volume.split(":")[:2] for volume in service.get("volumes", ()))
    return {where: what for what, where in pairs}


def test_every_name_leads_somewhere(compose: dict[str, Any]) -> None:
    used: set[str] = set()
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        if "build" in service:
            context = FOLDER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()
        for what in sources(service).values():
            if what.startswith("."):
                assert (FOLDER / what).exists(), what
            else:
                used.add(what)
    assert used == set(compose["volumes"])


def test_nobody_outside_this_machine_is_let_in(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert compose["networks"]["devices"]["internal"] is True


def test_services_are_hardened_and_looked_after(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        image = service["image"]
        assert image.startswith("sparsight-") or image.rpartition(":")[2][:1] in "v0123456789"
        # The agents' is their image's; who makes the keys ends at once.
        looked_after = "healthcheck" in service or image == "sparsight-edge"
        assert looked_after, name


def test_only_who_makes_keys_is_root_and_sees_the_authoritys(compose: dict[str, Any]) -> None:
    root = [name for name, service in compose["services"].items() if "user" in service]
    seen = [
        name
        for name, service in compose["services"].items()
        if "pki-authority" in sources(service).values()
    ]
    assert root == seen == ["pki"]
    for name in DRONES:
        pki = {what for what in sources(compose["services"][name]).values() if "pki" in what}
        assert pki == {f"pki-{name}"}


def test_the_clouds_command_is_one(compose: dict[str, Any]) -> None:
    service = compose["services"]["cloud"]
    settings = parsed(service["command"])
    assert settings["listen"] == f"0.0.0.0:{DEVICES_PORT}"
    assert settings["metrics"] == f"0.0.0.0:{GATEWAY_METRICS_PORT}"
    assert str(settings["out"]) in sources(service) and str(settings["pki"]) in sources(service)
    asked = service["healthcheck"]["test"]
    assert asked[:2] == ["CMD", "sparsight"]
    assert parsed(asked[2:])["address"] == settings["health"]
    assert service["ports"] == [f"127.0.0.1:{DEVICES_PORT}:{DEVICES_PORT}"]


@pytest.mark.parametrize("name", DRONES)
def test_a_drones_variables_are_settings(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    told = service["environment"]
    assert unknown_variables(list(told)) == []
    assert all(isinstance(value, str) for value in told.values())
    parsed(["edge", *service["command"]])
    assert told["SPARSIGHT_EDGE_CLOUD__DEVICE"] == name
    assert told["SPARSIGHT_EDGE_CLOUD__ADDRESS"] == f"cloud:{DEVICES_PORT}"
    assert told["SPARSIGHT_EDGE_REPORT__METRICS_PORT"] == str(EDGE_METRICS_PORT)
    mounted = sources(service)
    folder, _, pattern = told["SPARSIGHT_EDGE_SOURCE__URI"].rpartition("/")
    assert len(list((FOLDER / mounted[folder]).glob(pattern))) >= 20
    for variable in ("CERT", "KEY", "CA"):
        path = Path(told[f"SPARSIGHT_EDGE_CLOUD__{variable}"])
        assert str(path.parent) in mounted


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, as root may")
def test_the_script_deals_out_keys_once(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["pki"]
    (script,) = service["command"]
    shell, options = service["entrypoint"]
    for mount in sources(service):
        (tmp_path / Path(mount).name).mkdir()
    program = tmp_path / "bin" / "sparsight"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom sparsight.cli import main\nmain()\n")
    program.chmod(0o755)
    here = script.replace("$$", "$").replace("cd /pki", f"cd {tmp_path}")
    paths = os.pathsep.join(
        [str(DEPLOY.parent / name) for name in ("shared", "cloud", "proto", "edge")]
    )
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": paths}
    for _ in range(2):
        subprocess.run([shell, options, here], check=True, env=env, capture_output=True)
        given = {
            str(path.relative_to(tmp_path)): path.stat()
            for folder in ("cloud", *DRONES)
            for path in (tmp_path / folder).iterdir()
        }
        assert set(given) == {
            *(f"cloud/{name}" for name in ("ca.crt", "server.crt", "server.key")),
            *(
                f"{drone}/{name}"
                for drone in DRONES
                for name in ("ca.crt", "device.crt", "device.key")
            ),
        }
        assert {(stat.st_uid, stat.st_mode & 0o777) for stat in given.values()} == {(10001, 0o400)}
        names = [read_issued(tmp_path / drone, "device").certificate.subject for drone in DRONES]
        assert [name.rfc4514_string() for name in names] == [f"CN={drone}" for drone in DRONES]
