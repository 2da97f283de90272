"""Tests of grove_dp/log.py."""

import io
import json
import logging
import threading

import pytest

from grove_dp import log as grove_log
from grove_dp.log import LogWriter

log = logging.getLogger("grove_dp.frontend.health")


class Stuck(io.StringIO):
    """A pipe whose reader stopped: writes wait until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.entered = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.go.wait(30)
        return super().write(text)


def test_text_is_one_line_with_facts_quoted_where_needed():
    out = io.StringIO()
    with LogWriter("info", "text", out):
        log.info("worker %s", "ejected", extra={"worker": "a:1", "why": "no route", "empty": ""})
    line = out.getvalue()
    assert line.endswith('Z info frontend.health: worker ejected worker=a:1 why="no route" empty=""\n')
    assert line.count("\n") == 1


def test_json_keeps_facts_beside_fixed_fields():
    out = io.StringIO()
    with LogWriter("info", "json", out):
        log.warning("worker ejected", extra={"worker": "a:1", "level": "mine", "odd": {1, 2}.__class__})
    told = json.loads(out.getvalue())
    assert told["message"] == "worker ejected"
    assert told["level"] == "warning"
    assert told["logger"] == "frontend.health"
    assert told["worker"] == "a:1"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept(form):
    out = io.StringIO()
    with LogWriter("info", form, out):
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("broken")
    assert "ValueError: why" in out.getvalue()
    assert out.getvalue().count("\n") == (1 if form == "json" else 5)


def test_a_line_break_in_a_fact_does_not_forge_a_line():
    out = io.StringIO()
    with LogWriter("info", "text", out):
        log.info("seen", extra={"header": "a\n2026 info forged"})
    assert out.getvalue().count("\n") == 1


def test_level_holds_and_can_change():
    out = io.StringIO()
    with LogWriter("warning", "text", out) as writer:
        log.info("not this")
        writer.set_level("debug")
        log.debug("but this")
    assert "not this" not in out.getvalue()
    assert "but this" in out.getvalue()


def test_a_stuck_reader_costs_lines_but_never_time(monkeypatch):
    monkeypatch.setattr(grove_log, "QUEUE_LINES", 4)
    out = Stuck()
    with LogWriter("info", "text", out) as writer:
        log.info("first")
        assert out.entered.wait(30)
        for number in range(10):
            log.info("line %d", number)
        assert writer.dropped == 6
        out.go.set()
        while not writer._lines.empty():
            threading.Event().wait(0.001)
        log.info("last")
    assert "log lines dropped lines=6" in out.getvalue()
    assert "line 3" in out.getvalue()
    assert "line 4" not in out.getvalue()


def test_a_stuck_reader_does_not_keep_the_process_from_ending(monkeypatch):
    monkeypatch.setattr(grove_log, "CLOSE_S", 0.01)
    out = Stuck()
    with LogWriter("info", "text", out):
        log.info("first")
    out.go.set()


def test_the_root_logger_is_given_back():
    before = logging.getLogger().handlers[:]
    with LogWriter("info", "text", io.StringIO()):
        assert logging.getLogger().handlers != before
    assert logging.getLogger().handlers == before
