"""Slow tests are shared out among the workers before the others."""

from tests.balance import balanced

SUITE = [f"{file}{number}" for file in "abcdefgh" for number in range(4)]
SLOW = {"b1", "g0", "g1", "g2", "h0", "h1", "h3"}


def order(workers, slow=SLOW):
    return balanced(SUITE, workers, file=lambda test: test[0], slow=slow.__contains__)


def test_each_part_begins_with_its_share_of_the_slow_files():
    found = "".join(test[0] for test in order(2) if test[1] == "0")
    assert sorted(order(2)) == sorted(SUITE)
    assert found == "gba" + "c" + "h" + "def"
    assert order(2)[:8] == [*(f"g{number}" for number in range(4)), *(f"b{number}" for number in range(4))]
    assert order(2)[16:20] == [f"h{number}" for number in range(4)]


def test_more_workers_than_slow_files_and_files_larger_than_a_part():
    for workers in (1, 3, 5, 40):
        assert sorted(order(workers)) == sorted(SUITE)
        assert [test for test in order(workers) if test[0] in "bgh"][:4] == [f"g{number}" for number in range(4)]


def test_without_slow_tests_the_order_stays():
    assert order(2, slow=set()) == SUITE
