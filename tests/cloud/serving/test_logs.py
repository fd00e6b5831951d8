import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from sparsight_cloud.serving.logs import log_to_stderr


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_an_event_goes_to_the_standard_error_of_its_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    log_to_stderr()
    log = structlog.get_logger()
    log.warning("one", frames=3)
    told = json.loads(first.getvalue())
    assert (told["event"], told["level"], told["frames"]) == ("one", "warning", 3)
    monkeypatch.setattr(sys, "stderr", second)
    first.close()
    log.error("two")  # a closed stream would raise, and take the gateway's loop with it
    assert json.loads(second.getvalue())["event"] == "two"
