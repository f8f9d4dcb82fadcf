"""Turns: everybody's work is done once, whoever does it."""

import threading

import pytest

from api import turns
from api.turns import Turns


def test_work_of_many_threads_is_done_one_after_the_other() -> None:
    made, at_work, most = Turns(), 0, 0
    results: list[int] = []

    def work(number: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        threading.Event().wait(0.002)
        at_work -= 1
        return number

    def ask(number: int) -> None:
        results.append(made.do(lambda: work(number)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(20)) and most == 1


def test_what_work_raises_reaches_who_asked_and_nobody_else() -> None:
    made = Turns()
    with pytest.raises(ZeroDivisionError):
        made.do(lambda: 1 // 0)
    assert made.do(lambda: 7) == 7


def test_who_waits_too_long_does_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_S", 0.05)
    made, over = Turns(), threading.Event()
    stuck = threading.Thread(target=made.do, args=(over.wait,))
    stuck.start()
    done_by = made.do(threading.current_thread)
    assert done_by is threading.current_thread()
    over.set()
    stuck.join()
    assert made.do(threading.current_thread) is not threading.current_thread()


def test_without_a_thread_everybody_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made = Turns()
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", fails)
        assert made.do(threading.current_thread) is threading.current_thread()
    assert made.do(threading.current_thread) is not threading.current_thread(), "until there is one again"
