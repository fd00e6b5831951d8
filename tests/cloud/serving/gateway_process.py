"""The cloud as a process of its own, with a model without weights. Arguments: OUT HOST:PORT."""

import sys
from pathlib import Path

from hashes import HashReplica  # type: ignore[import-not-found]  # beside this script

from sparsight.errors import SparsightError
from sparsight.logs import log_to_stderr
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.gateway import Door
from sparsight_cloud.serving.in_process import InProcessDispatch
from sparsight_cloud.serving.up import CloudSettings, Ready, serve


def main() -> None:
    out, listen = Path(sys.argv[1]), sys.argv[2]
    log_to_stderr()
    settings = CloudSettings(Door(listen, None), out, metrics="127.0.0.1:0")

    def say(ready: Ready) -> None:
        sys.stdout.write(f"{ready.address} {ready.metrics} {ready.committed}\n")
        sys.stdout.flush()

    try:
        serve(
            settings,
            lambda ears: InProcessDispatch(HashReplica(0.005), BatchRule(8, 2.0), ears),
            say,
        )
    except SparsightError as error:
        sys.exit(f"sparsight: {error}")


main()
