"""CONTRIBUTING's table of promises: each one has tests, and they are there."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (?P<promise>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+)`")


def rows() -> dict[str, list[str]]:
    _, _, text = (PROJECT / "CONTRIBUTING.md").read_text().partition("## What holds when")
    named = {row["promise"]: TEST.findall(row["tests"]) for row in ROW.finditer(text)}
    return {promise: tests for promise, tests in named.items() if promise not in ("promise", "---")}


def test_every_promise_has_tests_that_exist() -> None:
    texts = [path.read_text() for path in (PROJECT / "tests").rglob("test_*.py")]
    existing = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.M)}

    assert len(rows()) >= 50
    missing = {
        promise: [name for name in tests if name not in existing]
        for promise, tests in rows().items()
        if not tests or not existing.issuperset(tests)
    }
    assert missing == {}
