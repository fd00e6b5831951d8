"""A real Ray cluster of several nodes on one machine, whose nodes and links can be killed.

    namespace head         namespace node1        namespace node2
     10.77.0.1              10.77.0.2              10.77.0.3
      GCS, raylet            raylet, workers        raylet, workers
         └────────── veth ──────┴─ bridge, 10.77.0.254 ─┘
                        namespace outside: devices, balancers

Each node is what `ray start` makes of a machine. It sees no processes but its own, for Ray looks
among them for the node that a program is on: nothing of it knows that there is one machine only.
What the head knows is in files (RocksDB), so a head that starts again is the same cluster.
Processors are logical: a node has as many as it is told. Everybody needs the token, which is made
here.

Needs Linux, root and the program `ip`. Whatever becomes of this process, a shell that waits for its
end of a pipe to close kills what runs in the namespaces and removes them.

    with Nodes(cpus=(0, 2, 2)) as nodes:
        driver = nodes.run_in("node1", ["python", "-m", "job"])  # ray.init(nodes.address)
        nodes.kill("node2")
        nodes.start("node2")
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsight.errors import UsageError

HEAD, OUTSIDE = "head", "outside"
PORT = 6380
START_S = 120.0
"""Against a hang, not against a busy machine."""

_STORE_BYTES = 150 << 20
_NET = "10.77.0"
_GATE = f"{_NET}.254"

_SWEEP = """
read -r _
for space in $1; do ip netns pids "$space" | xargs -r kill -KILL; done
for space in $1; do
    while ip netns pids "$space" | grep -q .; do sleep 0.05; done
    ip netns del "$space"
done
rm -rf -- "$0"
"""

# The first process of a node, with which all others end. It takes leave of those nobody waits for.
_INIT = "while :; do sleep 3600 & wait $!; done"

_ALIVE = """
import os, ray
ray.init(os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
print(*(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
"""


class Nodes:
    """Owns namespaces, the links between them and the Ray nodes inside.

    Attributes:
        names: Of the nodes, the head's first.
        address: HOST:PORT of the head, for `ray.init` on one of the nodes.
        folder: Ray's files, and room for files that all nodes see.
        environment: What a program needs to join the cluster; `run_in` gives it.
    """

    def __init__(
        self, cpus: Sequence[int] = (2, 2), environment: Mapping[str, str] | None = None
    ) -> None:
        """Make the namespaces and links; entering the context starts Ray.

        Args:
            cpus: Logical processors of each node, the head's first.
            environment: Of every process, beside this process's.

        Raises:
            UsageError: This needs Linux, root and the program `ip`.
        """
        self.names = (HEAD, *(f"node{i}" for i in range(1, len(cpus))))
        self._cpus = dict(zip(self.names, cpus, strict=True))
        self.address = f"{self.ip(HEAD)}:{PORT}"
        self._inits: dict[str, subprocess.Popen[bytes]] = {}
        self._spaces = {name: f"sparsight{os.getpid()}{name}" for name in (*self.names, OUTSIDE)}
        if shutil.which("ip") is None or os.geteuid() != 0:
            raise UsageError("several nodes on one machine need Linux, root and the program ip")
        self.folder = Path(tempfile.mkdtemp(prefix="ssn-", dir="/tmp"))  # Ray's sockets lie deep
        self.environment = {**_settings(self.folder), "RAY_ADDRESS": self.address}
        self.environment.update(environment or {})
        self._sweeper = subprocess.Popen(
            ["/bin/sh", "-c", _SWEEP, self.folder, " ".join(self._spaces.values())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
        )
        try:
            self._wire()
        except BaseException:
            self._sweep()
            raise

    def __enter__(self) -> Nodes:
        try:
            self.start(*self.names)
        except BaseException:
            self._sweep()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sweep()

    def ip(self, name: str) -> str:
        """The address of a node, or of `OUTSIDE`."""
        return _GATE if name == OUTSIDE else f"{_NET}.{self.names.index(name) + 1}"

    def run_in(self, name: str, command: Sequence[str], **how: Any) -> subprocess.Popen[str]:
        """Start a program on a node, or `OUTSIDE`, which has what it needs to join the cluster.

        On a node what is returned stands for the program: it ends as it does, with its status, but
        passes no signals on. `pids` finds the program itself.
        """
        how.setdefault("env", {**os.environ, **self.environment})
        enter = ["ip", "netns", "exec", self._spaces[name]]
        if name != OUTSIDE:
            enter = ["nsenter", "--target", str(self._first(name))]
            enter += ["--net", "--pid", "--mount", "--wd", "--"]
        return subprocess.Popen([*enter, *command], text=True, **how)

    def start(self, *names: str) -> None:
        """Start Ray on nodes where it does not run, the head first.

        Raises:
            RuntimeError: It does not start.
        """
        for together in ([n for n in names if n == HEAD], [n for n in names if n != HEAD]):
            starting = [(name, self._start(name)) for name in together]
            for name, process in starting:
                if process.wait(START_S):
                    said = (self.folder / f"{name}.log").read_text()
                    raise RuntimeError(f"{name}: Ray does not start: {said[-2000:]}")

    def kill(self, name: str) -> None:
        """End all that runs on a node, as a power cut does; its link is cut as well.

        Without the cut the kernel would tell others at once of what has ended.
        """
        self.cut(name)
        with self._inits.pop(name) as init:
            init.kill()
        while self.pids(name):
            time.sleep(0.01)

    def cut(self, name: str) -> None:
        """From now on no packet passes to or from a node."""
        _ip("-n", self._spaces[OUTSIDE], "link", "set", name, "down")

    def mend(self, name: str) -> None:
        """They pass again."""
        _ip("-n", self._spaces[OUTSIDE], "link", "set", name, "up")

    def pids(self, name: str, holding: str = "") -> list[int]:
        """What runs on a node.

        Args:
            name: Of the node.
            holding: Only processes whose command line has this in it.
        """
        said = _ip("netns", "pids", self._spaces[name]).split()
        return [pid for pid in map(int, said) if holding in _command(pid)]

    def alive(self) -> set[str]:
        """Names of the nodes that the head believes in; takes seconds."""
        asking = self.run_in(HEAD, [sys.executable, "-c", _ALIVE], stdout=subprocess.PIPE)
        said, _ = asking.communicate(timeout=START_S)
        return {name for name in self.names if self.ip(name) in said.split()}

    def restart(self, name: str) -> None:
        """Kill a node, and start it again; the head finds what it knew."""
        self.kill(name)
        self.start(name)

    def _start(self, name: str) -> subprocess.Popen[str]:
        self.mend(name)
        self._boot(name)
        how = ["--address", self.address]
        if name == HEAD:
            how = ["--head", "--port", str(PORT), "--include-dashboard", "false"]
        # Names as resources: what must run on one node asks for a little of its name.
        how += ["--num-cpus", str(self._cpus[name]), "--resources", json.dumps({name: 1000})]
        how += ["--node-ip-address", self.ip(name), "--temp-dir", str(self.folder / name)]
        how += ["--object-store-memory", str(_STORE_BYTES), "--disable-usage-stats"]
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            return self.run_in(
                name,
                [str(Path(sysconfig.get_path("scripts")) / "ray"), "start", *how],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _boot(self, name: str) -> None:
        """Have a first process on a node, if there is none."""
        if name in self._inits:
            return
        alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", _INIT]
        self._inits[name] = subprocess.Popen(
            ["ip", "netns", "exec", self._spaces[name], *alone],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not _command(self._first(name)).startswith("bash"):
            time.sleep(0.01)

    def _first(self, name: str) -> int:
        """The first process of a node, as seen from outside; 0 if it is not there yet."""
        parent = self._inits[name].pid
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(found[0]) if found else 0

    def _wire(self) -> None:
        try:
            for space in self._spaces.values():
                _ip("netns", "add", space)
                _ip("-n", space, "link", "set", "lo", "up")
            outside = self._spaces[OUTSIDE]
            _ip("-n", outside, "link", "add", "bridge", "type", "bridge")
            _ip("-n", outside, "addr", "add", f"{_GATE}/24", "dev", "bridge")
            _ip("-n", outside, "link", "set", "bridge", "up")
            for name in self.names:
                space = self._spaces[name]
                pair = f"link add {name} type veth peer name eth0 netns {space}"
                _ip("-n", outside, *pair.split())
                _ip("-n", outside, "link", "set", name, "master", "bridge", "up")
                _ip("-n", space, "addr", "add", f"{self.ip(name)}/24", "dev", "eth0")
                _ip("-n", space, "link", "set", "eth0", "up")
                # By its default route Ray learns a machine's address.
                _ip("-n", space, "route", "add", "default", "via", _GATE)
        except subprocess.CalledProcessError as error:
            raise UsageError(
                "several nodes on one machine need Linux, root and the program ip (iproute2), with "
                f"bridges and veth in the kernel: {error.stderr.strip()}"
            ) from error

    def _sweep(self) -> None:
        self._sweeper.communicate(timeout=START_S)
        for init in self._inits.values():
            init.wait()


def _settings(folder: Path) -> dict[str, str]:
    """What Ray reads from the environment, in every process alike."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A private cluster of this process would have left its own word: a machine by itself.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        # A node is lost 3 s after its last word.
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(folder / "gcs"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
