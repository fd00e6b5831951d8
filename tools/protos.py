"""Write the committed Python stubs of `proto/` anew; with --check, fail if they drift.

A file's path is its import path (`proto/sparsight_proto/v1/x.proto` -> `sparsight_proto.v1.x_pb2`),
so the compiler's absolute imports are right as they come.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "proto"


def compile_protos(protos: list[Path], kinds: list[str], out: Path) -> None:
    """Run protoc over these files, each kind of output into `out`."""
    if not protos:
        return
    flags = [f"--{kind}={'quiet:' if 'mypy' in kind else ''}{out}" for kind in kinds]
    names = [str(proto.relative_to(ROOT)) for proto in protos]
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"-I{ROOT}"]
    # By path, since a virtual environment that is not activated is not on PATH.
    tools = Path(sys.executable).parent
    command += [f"--plugin={tools / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([*command, *flags, *names], cwd=ROOT, check=True)


def generate(out: Path) -> None:
    """Write every stub under `out`."""
    protos = sorted(ROOT.rglob("*.proto"))
    compile_protos(protos, ["python_out", "mypy_out"], out)
    # protoc writes an empty _pb2_grpc.py for a file without services; nobody needs those.
    serving = [proto for proto in protos if "\nservice " in proto.read_text()]
    compile_protos(serving, ["grpc_python_out", "mypy_grpc_out"], out)


def stubs(root: Path) -> dict[Path, bytes]:
    """Every generated file below `root`, with its content."""
    files = (path for path in root.rglob("*_pb2*.py*") if "__pycache__" not in path.parts)
    return {path.relative_to(root): path.read_bytes() for path in files}


def check() -> None:
    """End with the names of the stubs that are not what the compiler writes."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = stubs(Path(folder))
    committed = stubs(ROOT)
    names = sorted(fresh.keys() | committed.keys())
    stale = [str(name) for name in names if fresh.get(name) != committed.get(name)]
    if stale:
        sys.exit(f"stale stubs, run `make protos`: {', '.join(stale)}")


if __name__ == "__main__":
    check() if "--check" in sys.argv else generate(ROOT)
