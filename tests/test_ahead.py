"""Work runs ahead of its reader, in order, and not farther than it may."""

import threading
import time

import pytest

from ml.ahead import in_batches, run_ahead


def test_results_come_in_order_whatever_takes_longest() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    found = list(run_ahead(work, range(20), threads=4, ahead=6))
    assert found == [number * number for number in range(20)]


def test_it_runs_ahead_but_not_farther_than_it_may() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number

    results = run_ahead(work, range(100), threads=2, ahead=5)
    assert next(results) == 0
    time.sleep(0.1)
    assert len(started) == 6
    assert list(results) == list(range(1, 100))


def test_an_error_is_raised_in_its_place() -> None:
    results = run_ahead(lambda number: 1 / number, [2, 1, 0, 4], threads=2, ahead=2)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_batches_hold_everything_once(count: int, sizes: list[int]) -> None:
    batches = list(in_batches(range(count), 4))
    assert [len(batch) for batch in batches] == sizes
    assert [item for batch in batches for item in batch] == list(range(count))
