"""What every test runs under: shapes and types checked, no way out of this machine."""

import inspect
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numba
import pytest
from jaxtyping import install_import_hook

# onnxruntime would send telemetry from its own threads, past the guard below.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Where these tests were started in the background or with nohup, Ctrl-C or a hang-up is ignored,
# and would be by every program that they start; many of them are ended by one.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Shapes and types of every annotated function are checked at run time, here and nowhere else.
# is_pep484_tower: an int is a float, as type checkers have it.
install_import_hook(
    ["sparsight", "sparsight_edge", "sparsight_cloud"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


def compile_unchecked(njit: Callable[..., Any]) -> Callable[..., Any]:
    """Give numba the functions themselves: it can't compile the hook's wrappers around them."""

    def unwrapping(*arguments: Any, **options: Any) -> Any:
        if arguments and inspect.isfunction(arguments[0]):
            return njit(inspect.unwrap(arguments[0]), *arguments[1:], **options)
        decorate = njit(*arguments, **options)
        return lambda function: decorate(inspect.unwrap(function))

    return unwrapping


numba.njit = compile_unchecked(numba.njit)

# A busy machine is no failure, and a found case should come back on the next run.
hypothesis.settings.register_profile("sparsight", deadline=None, derandomize=True)
hypothesis.settings.load_profile("sparsight")

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def no_way_out() -> Iterator[None]:
    """Refuse connections to other machines: a test that downloads passes only until it doesn't."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert isinstance(address, tuple)
            if not str(address[0]).startswith(LOOPBACK):
                raise ConnectionRefusedError(f"tests don't leave this machine: {address}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def split_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle of two halves."""
    from tests.split import write_split_bundle

    folder = tmp_path_factory.mktemp("bundles") / "split"
    write_split_bundle(folder)
    return folder
