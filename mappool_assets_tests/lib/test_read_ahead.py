import itertools
import threading

import pytest

from mappool_assets.lib.read_ahead import read_ahead


def test_the_same_items_in_order():
    assert list(read_ahead(iter([]))) == []
    assert list(read_ahead(iter([None, 0, "last"]))) == [None, 0, "last"]


def test_one_item_is_taken_while_its_predecessor_is_worked_on_and_no_more():
    taken, is_second_taken = [], threading.Event()

    def items():
        for item in range(5):
            taken.append(item)
            if item == 1:
                is_second_taken.set()
            yield item

    ahead = read_ahead(items())
    assert next(ahead) == 0
    assert is_second_taken.wait(10)  # although nobody asked for it
    assert taken == [0, 1]
    assert list(ahead) == [1, 2, 3, 4]


def test_an_error_comes_in_its_place():
    def items():
        yield "sound"
        raise ValueError("damaged")

    ahead = read_ahead(items())
    assert next(ahead) == "sound"
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)


def test_who_stops_early_leaves_no_thread():
    before = threading.active_count()
    ahead = read_ahead(itertools.count())
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
