"""Pages say what the code says: numbers of the wire, tests that are named, commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sparsight.codec import chain, payload, reuse
from sparsight.codec.payload import PayloadLimits
from sparsight.wire import WIRE_VERSION, FrameStatus, RefusalStatus, limits
from sparsight_cloud.serving.gateway import _CODES
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_proto.v1 import detections_pb2, features_pb2

from .given import ROOT, parsed

DOCS = ROOT / "docs"
PAGE = (DOCS / "wire.md").read_text()
NAMES = ("jetson", "kubernetes", "one-machine", "security", "sizing", "wire")
PAGES = [ROOT / "deploy" / "README.md", *(DOCS / f"{name}.md" for name in NAMES)]


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_message_has_its_fields() -> None:
    told = {}
    for name, fields, *_ in (row for row in rows(section("Messages")) if len(row) == 2):
        if name != "message":
            told[name.strip("`")] = re.findall(r"(\d+) `(\w+)`", fields)
    files = (features_pb2.DESCRIPTOR, detections_pb2.DESCRIPTOR)
    there = {
        name: [(str(field.number), field.name) for field in message.fields]
        for file in files
        for name, message in file.message_types_by_name.items()
    }
    kinds = {name: there.pop(name) for name in ("DeviceMessage", "CloudMessage")}
    assert [number for number, _ in kinds["DeviceMessage"]] == ["1", "2", "3"]
    there.pop("Box")
    assert told == there


def test_every_status_has_its_number() -> None:
    text = section("Messages")
    for statuses in (FrameStatus, RefusalStatus):
        table = text.split(f"| `{statuses.__name__}`")[1].split("\n\n")[0]
        told = {name: int(number) for number, name in re.findall(r"\b(\d+) ([A-Z_]{2,})", table)}
        assert told == {status.name: status.value for status in statuses}
    said = text.split("| `RefusalStatus`")[1].split("\n\n")[0]
    for row in rows(said)[1:]:
        names = re.findall(r"[A-Z_]{3,}", row[0])
        assert {_CODES[RefusalStatus[name]].name for name in names} == {row[2].split(",")[0]}


def test_limits_are_the_codes() -> None:
    told = [int(n.replace(",", "")) for n in re.findall(r"\b\d[\d,]*\b", section("Limits"))]
    own, read = GatewayLimits(), PayloadLimits()
    assert told == [
        limits.PAYLOAD_BYTES_MAX,
        limits.THUMBNAIL_BYTES_MAX,
        limits.FRAME_BYTES_MAX,
        limits.RESULT_BYTES_MAX,
        limits.CONTROL_BYTES_MAX,
        limits.DETECTIONS_MAX,
        limits.NAME_MAX,
        limits.DETAIL_MAX,
        limits.STREAMS_MAX,
        limits.FRAME_SIDE_MAX,
        limits.INPUT_SIDE_MAX,
        read.cells_max,
        read.patches_max,
        chain.CHAIN_MAX,
        own.streams_max,
        own.window_frames,
        own.window_bytes,
        own.in_flight_bytes,
        own.detects_max,
        int(own.write_s),
    ]
    order = section("Order")
    assert f"within {own.hello_s:g} s" in order
    assert f"the {own.bad_messages_max + 1}th ends it" in order
    assert f"(at most {limits.ACK_SEQS_MAX:,})" in section("Messages")


def test_versions_are_the_codes() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section("Versions"))}
    assert table["wire_version"] == str(WIRE_VERSION)
    assert table["codec_version"] == str(payload.VERSION)
    assert table["delta, joined"] == f"{reuse.VERSION}, {chain.VERSION}"
    told = dict(re.findall(r"`(SPY\w)`, version (\d+)", section("Payloads")))
    assert told == {
        payload.MAGIC.decode(): str(payload.VERSION),
        reuse.MAGIC.decode(): str(reuse.VERSION),
        chain.MAGIC.decode(): str(chain.VERSION),
    }


def test_the_head_of_a_payload_has_the_sizes_that_are_told() -> None:
    table = section("Payloads").split("| bytes | |")[1].split("\n\n")[0]
    sizes = [size for size, _ in rows(table)]
    head = sum(int(n) for size in sizes[: sizes.index("1 and more")] for n in size.split(" + "))
    assert head == payload._HEAD.size


def commands(page: Path) -> list[str]:
    """Every call of the program in a block of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = (re.search(r"(?:^|/)sparsight ((?:bundle|cloud|edge|pki) .+)", line) for line in lines)
    return [call[1] for call in calls if call]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_commands(page: Path) -> None:
    for words in commands(page):
        parsed(shlex.split(words, comments=True))


def test_there_are_commands_to_look_at() -> None:
    assert {page.stem for page in PAGES if commands(page)} == {
        "jetson",
        "kubernetes",
        "one-machine",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        found = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
        assert not anchor or anchor in found, link


def test_tests_that_are_named_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "security.md").read_text()))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    assert named and named <= there
