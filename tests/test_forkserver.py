"""A forkserver that hangs does not hold up who asks it for a process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from edge.runtime.process import Child, end_own_children, limited

FORKSERVER = multiprocessing.get_context("forkserver")


def test_a_forkserver_that_hangs_is_killed_and_the_next_start_makes_another() -> None:
    first = FORKSERVER.Process(target=os.getpid)
    first.start()
    first.join(10)
    halted = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # there is no public way to know it
    os.kill(halted, signal.SIGSTOP)
    begin_s = time.monotonic()
    with pytest.raises(EOFError), limited(0.5):
        FORKSERVER.Process(target=os.getpid).start()
    took_s = time.monotonic() - begin_s
    assert 0.5 <= took_s < 5
    again = FORKSERVER.Process(target=os.getpid)
    with limited(10):
        again.start()
    child = Child(again)
    again.join(10)
    child.close()
    print(f"given up after {took_s:.2f} s; process {halted} was killed, the next start worked")
    end_own_children()
    assert not Path(f"/proc/{halted}").exists() or "Z" in Path(f"/proc/{halted}/stat").read_text().split()[2]
