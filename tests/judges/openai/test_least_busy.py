from __future__ import annotations

from contextlib import ExitStack

import pytest

from judges.openai.calls import LeastBusy


def test_each_request_goes_to_the_member_with_the_fewest() -> None:
    clients = LeastBusy(["first", "second", "third"])
    with clients.member() as one, clients.member() as two, clients.member() as three:
        assert (one, two, three) == ("first", "second", "third")
        with clients.member() as four:
            assert four == "first"
    with clients.member() as again:
        assert again == "first"


def test_requests_that_end_in_any_order_leave_nobody_overloaded() -> None:
    clients = LeastBusy("ab")
    with ExitStack() as long:
        long.enter_context(clients.member())
        for _ in range(5):
            with clients.member() as free:
                assert free == "b"


def test_a_request_that_fails_is_over() -> None:
    clients = LeastBusy("ab")
    with pytest.raises(ValueError, match="no"), clients.member():
        raise ValueError("no")
    with clients.member() as free:
        assert free == "a"
