"""What the demo can be run with."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tools.demo.plan import labels_of, manifest_of, match_of, shipped_cameras

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.errors import BundleError, DataError, UsageError
from sparsight.settings import DetectSettings, ModelSettings
from sparsight_edge.capture.choose import open_source


def test_a_bundle_without_a_codec_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    settings = ModelSettings(classes=("car",))
    write_bundle(tmp_path, settings, DetectSettings(), name="whole", card="none", rates=())
    with pytest.raises(BundleError, match=r"no codec.*--bundle"):
        manifest_of(tmp_path, 0)


def test_a_rate_that_the_bundle_lacks_is_refused(split_bundle: Path) -> None:
    assert manifest_of(split_bundle, 2).name == manifest_of(split_bundle, None).name == "split"
    with pytest.raises(UsageError, match=r"0 \(the finest\) to 2, got 3"):
        manifest_of(split_bundle, 3)


def test_the_plan_and_the_device_see_the_same_pictures() -> None:
    for camera in shipped_cameras():
        source = open_source(camera.source, threading.Event())
        assert getattr(source, "paths", None) == camera.pictures


def test_labels_are_in_the_order_of_the_pictures() -> None:
    cameras = shipped_cameras(3)
    pictures = [picture for camera in cameras for picture in camera.pictures]
    assert len(pictures) == 6
    assert [image.path for image in labels_of(cameras).images] == pictures


def test_a_class_that_is_told_must_be_one() -> None:
    labels = labels_of(shipped_cameras(1))
    van = match_of(("van", "car"), labels, None)
    assert van is not None
    assert [labels.classes[i] for i in van.to_dataset] == ["minibus", "car"]
    assert match_of(("person",), labels, None) is None
    with pytest.raises(DataError, match="lorry"):
        match_of(("van", "car"), labels, {"van": "lorry"})
