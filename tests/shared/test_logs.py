import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from sparsight.logs import log_to_stderr


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


def test_text_for_people_and_only_what_is_grave_enough(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger()
    log_to_stderr("text", "warning")
    log.info("small")
    log.warning("camera lost", reason="no answer")
    log_to_stderr("text", "debug")
    log.debug("detail")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "\x1b" not in lines[0]
    assert "[warning" in lines[0] and "camera lost" in lines[0] and "reason='no answer'" in lines[0]
    assert "detail" in lines[1]
