"""A device gets `sparsight[edge]` and nothing else: no torch, no Ray, no timm."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .small.bundles import draw_pictures, write_small_bundle
from .small.cloud import SmallCloud

ROOT = Path(__file__).resolve().parents[2]
INSTALL_MIB_MAX = 720
"""677 MiB at the end of 2026: half of it LLVM (numba), OpenCV and FFmpeg."""

HEAVY = ("torch", "torchvision", "timm", "ray", "faster_coco_eval", "onnx")


def call(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def size_mib(folder: Path) -> float:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a dozen wheels to fetch and unpack
def test_the_edge_alone_installs_and_runs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("shared", "proto", "edge", "cloud"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "venv"
    call(sys.executable, "-m", "venv", home, cwd=tmp_path)
    empty = size_mib(home)
    python, program = home / "bin" / "python", home / "bin" / "sparsight"
    call(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        f"{source}[edge]",
        cwd=tmp_path,
    )
    added = size_mib(home) - empty
    assert added < INSTALL_MIB_MAX, added
    found = call(
        python,
        "-c",
        f"import importlib.util as u; print([m for m in {HEAVY} if u.find_spec(m)])",
        cwd=tmp_path,
    )
    assert found.strip() == "[]"
    assert "--source" in call(program, "edge", "run", "--help", cwd=tmp_path)

    write_small_bundle(tmp_path / "bundle")
    draw_pictures(tmp_path / "pictures", 5)
    with SmallCloud() as cloud:
        said = call(
            *(program, "edge", "run", "--insecure", "--json", "--source", "pictures"),
            *("--bundle", "bundle", "--cloud", cloud.address, "--device", "drone"),
            cwd=tmp_path,
        )
    assert json.loads(said)["frames_acknowledged"] == len(cloud.committed) == 5
    assert (tmp_path / "spool-drone").is_dir()
