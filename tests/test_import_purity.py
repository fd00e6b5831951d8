"""Each package imports whole with the packages barred that it must do without."""

import subprocess
import sys

import pytest

TORCH = ["torch", "torchvision", "timm", "ray"]
BARRED = {
    "sparsight_proto": [*TORCH, "numba", "numpy"],
    "sparsight": TORCH,
    "sparsight_edge": [*TORCH, "faster_coco_eval"],
    "sparsight_cloud": ["tensorrt", "tensorrt_rtx"],
}

IMPORT_ALL = """
import importlib, pkgutil, sys
package, *barred = sys.argv[1:]
sys.modules.update(dict.fromkeys(barred))
root = importlib.import_module(package)
def names(path, prefix):
    for module in pkgutil.iter_modules(path, prefix):
        # The one place of the shared half that stands on torch.
        if module.name == "sparsight.model":
            continue
        yield module.name
        if module.ispkg:
            yield from names(importlib.import_module(module.name).__path__, module.name + ".")
for name in names(root.__path__, package + "."):
    importlib.import_module(name)
"""


def run_python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter that sees what this one sees."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", BARRED)
def test_package_imports_without_the_other_side(package: str) -> None:
    run_python(IMPORT_ALL, package, *BARRED[package])


def test_command_line_starts_without_anything_heavy() -> None:
    heavy = run_python(
        "import sys, sparsight.cli, sparsight_cloud.cli\n"
        "sparsight.cli.build_app()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'numba', 'cv2', 'onnxruntime', 'ray'}\n"
        "print(*sorted(heavy & sys.modules.keys()))\n"
    )
    assert heavy.split() == []
