"""`python -m tools.demo`: stream two cameras through a cloud on this machine, and judge it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from tools.demo.interrupts import Interrupts, private_folder
from tools.demo.programs import Programs

from sparsight.errors import SparsightError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell gives it."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of summary.json and the frames.")] = Path(
        "demo"
    ),
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the default one without.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=0, help="Quality level of the codec, 0 is the finest; the middle one without."
        ),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=100, help="Frames a second a camera.")] = 2.0,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Only the first of each camera; all without.")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Compute in the gateway's process, without Ray.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, max=64, help="Replicas of the model on Ray.")] = 2,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            help="The boxes' class for one of the bundle's, such as van=minibus, which is so "
            "without. Others match by name. May be repeated."
        ),
    ] = None,
) -> None:
    """Stream two cameras over Munich through a cloud on this machine, and judge what comes back.

    A Ray cluster, a gateway behind mTLS and two devices are started as programs of their own, and
    end with the demo or with Ctrl-C. The exit code is 1 if a frame was lost or committed twice.
    """
    people = Console(stderr=True)
    try:
        with Interrupts() as interrupts, private_folder(interrupts) as folder:
            # Or torch makes one that stays, here and in the programs, as soon as it is imported.
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))
            from tools.demo.plan import make_plan  # noqa: PLC0415
            from tools.demo.run import run  # noqa: PLC0415

            from sparsight_cloud.detection.outputs import prepare_folder  # noqa: PLC0415

            where = None if in_process else replicas
            plan = make_plan(bundle, rate, fps, frames, where, class_map)
            prepare_folder(out)
            code = run(plan, out, Programs(folder, interrupts), people, Console())
    except KeyboardInterrupt:
        people.print("demo: stopped; everything that it had started has ended")
        raise typer.Exit(INTERRUPTED) from None
    if code:
        raise typer.Exit(code)


def main() -> None:
    """Run, and end with one line where something is a user's to fix."""
    # OpenMP reads this once, when torch is imported, here and in the programs (`sparsight.cli`).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app(prog_name="python -m tools.demo")
    except SparsightError as error:
        typer.echo(f"demo: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
