"""Of several processes one gets a folder, and a dead one does not keep it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from research.ablation.store.claims import Claim, Claims, attempts, is_claimed
from research.training.storage.liveness import host


def begun_by(folder, number, **claim):
    """Write attempt `number` as another process would have."""
    file = Claim(folder, number).file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(claim))
    return file


def test_one_claim_at_a_time(tmp_path):
    with Claims() as claims, Claims() as others:
        claim = claims.acquire(tmp_path)
        assert claim.number == attempts(tmp_path) == 1
        assert is_claimed(tmp_path) and claim.held()
        assert others.acquire(tmp_path) is None and claims.acquire(tmp_path) is None
        claims.release(claim, "failed")
        assert not is_claimed(tmp_path)
        assert json.loads(claim.file.read_text())["over"] == "failed"
        assert others.acquire(tmp_path, after=0) is None
        assert others.acquire(tmp_path, after=1).number == 2
        assert not claim.held()
    assert not is_claimed(tmp_path)


def test_of_many_takers_one_wins(tmp_path):
    """All at once find the same dead claim; every round one of them gets the next."""
    wins, barrier = [], threading.Barrier(8)
    begun_by(tmp_path, 1, host="elsewhere", pid=1, born="1", over="killed")

    def take(claims):
        for _ in range(25):
            barrier.wait()
            if claim := claims.acquire(tmp_path):
                wins.append(claim.number)
            barrier.wait()
            if claim:
                claims.release(claim)

    with Claims() as claims:
        takers = [threading.Thread(target=take, args=(claims,)) for _ in range(8)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
    assert len(wins) == len(set(wins)) >= 25
    assert sorted(wins) == list(range(2, max(wins) + 1))


@pytest.mark.fault("F32")
def test_who_looked_before_the_other_wrote_gets_nothing(tmp_path, monkeypatch):
    with Claims() as claims, Claims() as others:
        claim = others.acquire(tmp_path)
        before = claim.file.read_bytes()
        monkeypatch.setattr("research.ablation.store.claims.attempts", lambda folder: 0)
        assert claims.acquire(tmp_path) is None
        assert claim.file.read_bytes() == before


def test_a_dead_process_of_this_host_is_taken_over_at_once(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from research.ablation.store.claims import Claims\n"
        "with Claims() as claims: claims.acquire(Path(sys.argv[1])); print('mine', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    with Claims(stale=0.0) as claims:
        assert is_claimed(tmp_path, stale=0.0), "a living process keeps its claim, however long it is silent"
        assert claims.acquire(tmp_path) is None
        process.kill()
        if Path("/proc/self").exists():
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, though its parent has not taken note
            assert not is_claimed(tmp_path)
        process.communicate()
        assert claims.acquire(tmp_path).number == 2


def test_a_number_given_to_a_younger_process_is_not_the_old_one(tmp_path):
    with Claims() as claims:
        claim = claims.acquire(tmp_path)
        content = json.loads(claim.file.read_text())
        assert content["pid"] == os.getpid()
        claim.file.write_text(json.dumps({**content, "born": "1"}))
        assert not is_claimed(tmp_path)


def test_another_host_is_dead_after_many_missed_beats(tmp_path):
    file = begun_by(tmp_path, 3, host="elsewhere", pid=os.getpid(), born="1")
    assert is_claimed(tmp_path, stale=50.0)
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
    assert not is_claimed(tmp_path, stale=50.0)
    with Claims() as claims:
        assert claims.acquire(tmp_path).number == 4


@pytest.mark.fault("F32")
@pytest.mark.parametrize("pid", ["1", None, [1], 1.5])
def test_a_claim_of_this_host_without_a_process_is_not_one(pid, tmp_path):
    begun_by(tmp_path, 1, host=host(), pid=pid, born=None)
    assert not is_claimed(tmp_path)


def test_heartbeat(tmp_path):
    with Claims(heartbeat=0.02) as claims:
        file = claims.acquire(tmp_path).file
        os.utime(file, (1, 1))
        deadline = time.monotonic() + 10
        while file.stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_mtime > 1
