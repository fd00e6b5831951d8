"""The Ray that computes: a small one of our own on this machine, or one that runs somewhere.

    start ─ no address ─> gcs, raylet, Serve's controller: children of this process, on loopback,
          │               behind a token that nobody else has ──> close: no process, no file is left
          ├ HOST:PORT ──> a driver of that cluster ────────────> close: it leaves
          └ this process is connected already ─────────────────> close: the connection stays

Everything that Ray does while we wait happens in one thread. It also keeps our own cluster alive:
the kernel ends it with the thread that started it, so a killed gateway leaves nothing. What Ray
leaves then is removed by a shell that waits for our end of a pipe to close.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from sparsight.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

LOOPBACK = "127.0.0.1"

_STORE_BYTES = 512 << 20  # of shared memory, taken as it fills; batches on their way lie there
_FOLDER_CHARS = 20  # Ray's sockets lie 85 characters deeper, and the kernel allows 107
_ANSWER_S = 5.0
_SHOWN_CHARS = 300  # of Ray's own words, which may be pages

# Waits until nobody holds the other end. Most of Ray ends within three seconds then; two of its
# processes, known by the logs that they have open, would try for a minute to reach the others.
_SWEEP = """
read -r _
sleep 3
for process in /proc/[0-9]*; do
    if ls -l "$process/fd" 2>/dev/null | grep -qF -- "-> $0/"; then
        kill -KILL "${process#/proc/}"
    fi
done
sleep 1
rm -rf -- "$0"
"""


class RayCluster:
    """Owns this process's connection to Ray, and the cluster if it is our own."""

    def __init__(
        self, address: str | None = None, cpus: int = 1, *, with_serve: bool = True
    ) -> None:
        """A cluster that is not yet connected to.

        Args:
            address: HOST:PORT of a running cluster's head, or `auto` for the one on this machine;
                None starts one.
            cpus: How many processors our own cluster believes in. What wants more than are left is
                not started; nothing else depends on it.
            with_serve: Start Serve, too.

        Raises:
            UsageError: The address is none of Ray's own.
        """
        if address is not None and ("://" in address or not address):
            raise UsageError(
                f"--address: expected HOST:PORT of a Ray cluster's head or `auto`, got {address!r}"
            )
        self._address = address
        self._cpus = cpus
        self._with_serve = with_serve
        self._folder: _Folder | None = None
        self._ours = False
        self._node_address = ""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray")

    @property
    def is_private(self) -> bool:
        """Whether all of the cluster ends with `close`."""
        return self._folder is not None

    @property
    def is_on_loopback(self) -> bool:
        """Whether no other machine belongs to it or can reach it."""
        return self._node_address == LOOPBACK

    async def start(self) -> None:
        """Connect; takes seconds.

        Raises:
            UsageError: There is no cluster at the address, it can't be started, or Ray is missing.
        """
        await self.call(self.connect)

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something in Ray's thread, after what is being done there."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))

    async def close(self) -> None:
        """Disconnect; of our own cluster nothing is left, no process and no file."""
        await self.call(self.disconnect)
        self._thread.shutdown()

    def connect(self) -> None:
        """`start` for those who wait in the thread that calls, which must then outlive Ray.

        Raises:
            UsageError: As there.
        """
        _set_environment(private=self._address is None)
        try:
            with warnings.catch_warnings():  # of pydantic, about Ray's own settings
                warnings.simplefilter("ignore")
                import ray
                from ray import serve
        except ImportError as error:
            raise UsageError(
                f"Ray can't be imported ({error}); pip install 'sparsight[cloud]', or compute in "
                "the gateway's process with --in-process"
            ) from error
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            if not ray.is_initialized():
                self._join()
            self._node_address = ray.util.get_node_ip_address()
            if self.is_private and not self.is_on_loopback:
                raise RuntimeError(
                    f"it listens on {self._node_address}, expected {LOOPBACK}: Ray was imported "
                    "before it was told"
                )
            # A cluster without doors of its own: devices come in through the gateway.
            if self._with_serve:
                serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        except Exception as error:
            self.disconnect()
            raise UsageError(f"{self._what}: {one_line(error)}") from error

    def _join(self) -> None:
        """Start our own cluster, or become a driver of another."""
        import ray

        self._ours = True
        if self._address is None:
            self._folder = _Folder()
            ray.init(
                address="local",
                num_cpus=self._cpus,
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(self._folder.path),
            )
        else:
            _require_answer(self._address)
            ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
        # Or what Ray has to say of a lost worker appears on our standard output.
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001

    @property
    def _what(self) -> str:
        if self._address is None:
            return "a Ray cluster can't be started on this machine"
        return f"{self._address}: no Ray cluster that this process can join"

    def disconnect(self) -> None:
        """`close` after `connect`."""
        ray = sys.modules.get("ray")
        if ray is not None and self._ours:
            # Its client's loop may outlive what it asks, and would say so with a traceback.
            logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
            ray.shutdown()
            self._ours = False
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class _Folder:
    """Owns a temporary folder that does not outlive this process, however that ends."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(parent) > _FOLDER_CHARS:
            parent = "/tmp"
        self.path = Path(tempfile.mkdtemp(prefix="sparsight-ray-", dir=parent))
        self._sweeper = subprocess.Popen(
            ["/bin/sh", "-c", _SWEEP, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the gateway
        )

    def remove(self) -> None:
        """Remove it now."""
        self._sweeper.kill()
        self._sweeper.communicate()
        shutil.rmtree(self.path, ignore_errors=True)


def _set_environment(*, private: bool) -> None:
    """What Ray reads from the environment, once, when it is imported.

    Without the token everyone who reaches one of Ray's ports could run code; without the mode Ray
    would write one into ~/.ray and use it for every later cluster of this user.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not private:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # As on those systems: one machine, addressed by its loopback, where its ports then are as well.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _require_answer(address: str) -> None:
    """Find out in seconds that nobody is there; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise RuntimeError(f"nobody answers there ({error})") from error


def one_line(error: BaseException) -> str:
    """Ray's words, without line breaks and what comes after the first few."""
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:_SHOWN_CHARS]
