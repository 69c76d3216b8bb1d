"""What a full disk leaves of a claim: the whole of it, or nothing that anybody waits for."""

import errno
import json
import os
from pathlib import Path

import pytest

from research.ablation.execution.modes.decisions import Decisions
from research.ablation.execution.waiting import Waiting
from research.ablation.store.claims import Claim, Claims, attempts, is_claimed
from research.errors import RunError
from research.training.storage.liveness import host

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill(monkeypatch):
    """Let the disk be full: files are still made, and stay empty."""

    def write_text(path, text, *arguments, **keywords):
        path.touch()
        raise FULL

    monkeypatch.setattr(Path, "write_text", write_text)


@pytest.mark.fault("F52")
@pytest.mark.fault("F32")
def test_a_claim_that_could_not_be_written_is_none(tmp_path, monkeypatch):
    with Claims() as claims:
        fill(monkeypatch)
        with pytest.raises(OSError, match="No space left"):
            claims.acquire(tmp_path)
        assert list((tmp_path / "attempts").iterdir()) == []
        monkeypatch.undo()
        claim = claims.acquire(tmp_path)
        assert claim.number == 1 and json.loads(claim.file.read_text())["pid"] == os.getpid()
        assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["1.json"]


@pytest.mark.fault("F32")
def test_a_claim_that_could_not_be_ended_in_words_is_over_all_the_same(tmp_path, monkeypatch):
    """This process lives on, and would wait for itself."""
    with Claims() as claims, Claims() as others:
        claim = claims.acquire(tmp_path)
        fill(monkeypatch)
        claims.release(claim, "failed")
        assert not is_claimed(tmp_path)
        monkeypatch.undo()
        assert others.acquire(tmp_path).number == 2


@pytest.mark.fault("F29", "F32")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"host": ',
        '{"pid": 1, "born": "1"}',
        "[1]",
        "3",
        "null",
        "[" * 100_000,
        "\xff",
        '{"host": [], "pid": 1}',
    ],
)
def test_a_claim_without_an_owner_is_taken_over_at_once(text, tmp_path):
    """Nobody knows whom to ask, and nobody would ever end it."""
    file = Claim(tmp_path, 1).file
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    assert not is_claimed(tmp_path) and attempts(tmp_path) == 1
    with Claims() as claims:
        assert claims.acquire(tmp_path).number == 2


def test_where_there_are_no_links_a_claim_is_made_all_the_same(tmp_path, monkeypatch):
    def link(*names):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with Claims() as claims, Claims() as others:
        claim = claims.acquire(tmp_path)
        assert json.loads(claim.file.read_text())["host"] == host()
        assert is_claimed(tmp_path) and others.acquire(tmp_path) is None
        assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["1.json"]


@pytest.mark.fault("F32")
def test_a_decision_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    class Group:
        name = "g"

    with Claims() as claims:
        decisions = Decisions(tmp_path, claims, Waiting(None, lambda: False))
        fill(monkeypatch)
        with pytest.raises(RunError, match=r"cannot write .*execution.json: No space left on device; mend that"):
            decisions.of(Group(), lambda: pytest.fail("decided without a claim"))
