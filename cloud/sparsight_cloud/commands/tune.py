"""`sparsight tune`: which settings train best."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sparsight.errors import UsageError
from sparsight_cloud.commands.train import read_data

if TYPE_CHECKING:
    from sparsight_cloud.training.config import TrainConfig
    from sparsight_cloud.training.ray_tune import Judgement

BEST, TRIALS = "best.yaml", "trials.json"


def tune(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="The run whose settings are tried, as a YAML file or the name of a recipe.",
            show_default=False,
        ),
    ],
    ranges: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=RANGE",
            help="A setting and what it may be: LOW:HIGH, LOW:HIGH:log, or values with commas. "
            "May be given several times.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the result.", show_default=False)],
    trials: Annotated[int, typer.Option(min=1, help="How many settings are tried.")] = 16,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train each so long, instead of as configured.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=4, help="Train each so many steps, instead of as configured.")
    ] = None,
    eval_data: Annotated[
        Path | None,
        typer.Option(
            help="Judge on these annotations, a COCO file, instead of a tenth of the data."
        ),
    ] = None,
    eval_images: Annotated[Path | None, typer.Option(help="Folder of their pictures.")] = None,
    early: Annotated[
        bool, typer.Option(help="End poor trials early (ASHA), at a quarter and half of a run.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; one a processor without.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster for the trials (auto: the one on this machine), which decides how "
            "many run at a time; starts a small one here without.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the settings that are drawn.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, no progress.")
    ] = False,
) -> None:
    """Try settings on Ray Tune; leaves the best as OUT/best.yaml, which `train` runs.

    Each trial trains a detector in one process and is judged by AP on pictures that it did not
    train on.

    Examples:
        sparsight tune my.yaml --set optimiser.lr=1e-4:3e-3:log --set batch=2,4,8
            --trials 12 --minutes 10 --out sweep

        sparsight tune my.yaml --set crop.mosaic=0:0.5 --out sweep --address head:6379
    """
    from sparsight_cloud.commands.shipping import Judged, require_objects
    from sparsight_cloud.data.coco import read_coco
    from sparsight_cloud.evaluation.report import usable_cores
    from sparsight_cloud.training.config import find_config, load_config, write_config
    from sparsight_cloud.training.sweep import Range, draws

    if minutes is not None and steps is not None:
        raise UsageError("expected one of --minutes and --steps, got both; leave one out")
    if (eval_data is None) != (eval_images is None):
        raise UsageError("--eval-data and --eval-images go together; give both or none")
    if (out / BEST).exists():
        raise UsageError(f"{out / BEST}: there already; remove it or change --out")
    file, base = find_config(config)
    out = out.resolve()
    length = {k: v for k, v in (("minutes", minutes), ("steps", steps)) if v is not None}
    given = load_config(file, base=base, changes=length)
    # One process a trial, and the curve of as many as the run has.
    alone = {"processes": 1, "slices": given.slices or given.processes}
    fixed: dict[str, object] = {**length, **alone}
    known = [Range.parse(text) for text in ranges]
    for one in known:
        if one.key in ("processes", "out", "stage"):
            raise UsageError(f"--set {one.key}: a trial's is given; expected another key")
        for end in one.ends():
            load_config(file, base=base, changes={**fixed, one.key: end})
    drawn = draws(known, trials, seed)
    configs = [load_config(file, base=base, changes={**fixed, **one}) for one in drawn]
    for one_drawn in drawn:  # any may be the best, which must run with the processes that it has
        load_config(file, base=base, changes={**length, **one_drawn})
    if any(one.stage != "detector" for one in configs):
        raise UsageError("stage: expected detector, as AP of the others depends on their rates")
    console = Console(stderr=True, quiet=as_json)
    train = read_data(configs[0], console)

    from sparsight_cloud.training.finetune import apart, held_out
    from sparsight_cloud.training.ray_tune import sweep
    from sparsight_cloud.training.run import make_folder

    if eval_data is not None and eval_images is not None:
        val = read_coco(eval_data, eval_images)
        require_objects(train.classes, Judged(str(eval_data), val))
        train = apart(train, val)
    else:
        train, val = held_out(train, 0.1)
    make_folder(out)
    count = min(workers or usable_cores(), trials)
    console.print(
        f"{trials} trials, {count} at a time; {len(train.images)} pictures to train on, "
        f"{len(val.images)} to judge on"
    )
    board = _Board(console, configs, drawn)
    last = sweep(
        configs, train, val, out, board.told, concurrent=count, early=early, address=address
    )
    good = [one for one in last if not one.failed]
    rows = [{**asdict(one), "settings": drawn[one.trial]} for one in last]
    (out / TRIALS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not good:
        first = f"; the first: {last[0].failed}" if last else ", or was judged before the end"
        raise UsageError(f"no trial ended well{first}")
    best = max(good, key=lambda one: (one.rung, one.ap))
    heading = f"the best of {trials} trials: AP {best.ap:.4f} after {best.step} steps"
    chosen = {**length, **drawn[best.trial], "out": out / "run"}
    write_config(load_config(file, base=base, changes=chosen), out / BEST, heading)
    console.print(_table(last, drawn, best))
    if as_json:
        told = {"best": str(out / BEST), "trial": best.trial, "ap": best.ap, "trials": rows}
        json.dump(told, sys.stdout, indent=2)
        sys.stdout.write("\n")
    console.print(f"to train with them: sparsight train {out / BEST}", soft_wrap=True)


class _Board:
    """Says what each judgement was, and the time left."""

    def __init__(
        self, console: Console, configs: "list[TrainConfig]", drawn: list[dict[str, Any]]
    ) -> None:
        self._console, self._drawn = console, drawn
        self._rungs = dict.fromkeys(range(len(configs)), 0)
        self._begin_s = time.monotonic()

    def told(self, one: "Judgement") -> None:
        from sparsight_cloud.training.board import duration
        from sparsight_cloud.training.ray_tune import RUNGS

        self._rungs[one.trial] = one.rung
        done = sum(RUNGS[rung - 1] for rung in self._rungs.values() if rung)
        spent_s = time.monotonic() - self._begin_s
        left_s = spent_s / done * (len(self._rungs) - done) if done else 0.0
        ended = f"failed: {one.failed}" if one.failed else f"AP {one.ap:.1%}"
        self._console.print(
            f"trial {one.trial} at {RUNGS[one.rung - 1]:.0%}: {ended}  "
            f"{_settings(self._drawn[one.trial])}  {duration(left_s)} left at most",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _settings(drawn: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in drawn.items())


def _table(last: "list[Judgement]", drawn: list[dict[str, Any]], best: "Judgement") -> Table:
    table = Table("trial", *drawn[0], "steps", "AP", "")
    for one in sorted(last, key=lambda one: (-one.rung, -one.ap)):
        note = "best" if one is best else one.failed[:40]
        values = [str(value) for value in drawn[one.trial].values()]
        table.add_row(str(one.trial), *values, str(one.step), f"{one.ap:.1%}", note)
    return table
