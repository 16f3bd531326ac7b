"""What providers may answer about their batches, and how the answers in them are read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from judges.openai.batches import Line, ProviderBatches, ProviderFailed
from judges.openai.bodies import Bodies
from judges.openai.calls import LeastBusy
from judges.openai.judge import OpenAIJudge
from judges.openai.later import Found, Later, Question, answers_may_wait
from judges.openai.settings import OpenAISettings, Secrets
from judges.prompting.templates import load_template
from judges.types import FailureKind
from tests.judges.pairs import pair_of

Answer = Callable[[httpx.Request], httpx.Response]


def batches_of(answer: Answer, **settings: Any) -> ProviderBatches:
    made = OpenAISettings("j", "http://provider/v1", "m", **settings)
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url=made.base_url, timeout=5
    )
    return ProviderBatches(made, LeastBusy([client]), Secrets(), "chat/completions")


def says(body: Any, status: int = 200) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx.Response(status, content=content)


@contextmanager
def failing(match: str) -> Iterator[pytest.ExceptionInfo[ProviderFailed]]:
    with pytest.raises(ProviderFailed, match=match) as caught:
        yield caught


def pages(*answers: dict[str, Any]) -> tuple[Answer, list[str | None]]:
    """Answer with these pages, and note behind which batch each was asked for."""
    after: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        after.append(request.url.params.get("after"))
        return httpx.Response(200, json=answers[min(len(after), len(answers)) - 1])

    return answer, after


OTHER = {"id": "other", "status": "completed", "metadata": {"tribunal_mark": "theirs"}}


async def test_a_batch_is_found_by_its_mark_or_its_file_on_any_page() -> None:
    first = {"data": [OTHER, "noise", {"id": "bare", "metadata": None}], "has_more": True}
    for named in ({"metadata": {"tribunal_mark": "ours"}}, {"input_file_id": "file"}):
        answer, after = pages(first, {"data": [{"id": "found", "status": "failed", **named}]})
        found = await batches_of(answer).find("file", "ours")
        assert found is not None
        assert (found.id, found.has_ended) == ("found", True)
        assert after == [None, "bare"]


@pytest.mark.parametrize(
    "page", [{}, {"data": None}, {"data": [], "has_more": True}, {"data": [OTHER]}]
)
async def test_a_list_that_ends_without_the_batch_says_that_there_is_none(
    page: dict[str, Any],
) -> None:
    answer, after = pages(page)
    assert await batches_of(answer).find("file", "ours") is None
    assert after == [None]


async def test_a_list_that_never_ends_is_given_up() -> None:
    answer, after = pages({"data": [OTHER], "has_more": True})
    assert await batches_of(answer).find("file", "ours") is None
    assert len(after) == 100


async def test_whether_batches_are_offered_is_told_by_the_path_alone() -> None:
    assert await batches_of(says({"data": []})).is_offered()
    assert not await batches_of(says({"detail": "Not Found"}, 404)).is_offered()
    with failing("out of luck") as caught:
        await batches_of(says({"error": {"message": "out of luck"}}, 500)).is_offered()
    assert (caught.value.is_passing, caught.value.is_unclear) == (True, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": "validating"}, "the answer about a batch has no id"),
        ({"id": 7}, "the answer about a batch has no id"),
        ({"id": ""}, "the answer about a batch has no id"),
        ([], r"batches: no JSON object: \[\]"),
        (b"<html>", "batches: no JSON object: "),
    ],
)
async def test_an_answer_that_names_no_batch_leaves_open_whether_one_was_made(
    body: Any, said: str
) -> None:
    with failing(said) as caught:
        await batches_of(says(body)).create("file", "mark")
    assert caught.value.failure.kind is FailureKind.UNPARSEABLE
    assert caught.value.is_unclear


@pytest.mark.parametrize(
    ("errors", "code", "words"),
    [
        (None, "", ""),
        ("no", "", ""),
        ({"data": []}, "", ""),
        ({"object": "list", "data": [{"code": "full", "message": "too many"}]}, "full", "too many"),
        ([{"message": "one"}, 5, {"message": "two"}], "", "one; two"),
    ],
)
async def test_errors_of_a_batch_are_read_in_any_form(errors: Any, code: str, words: str) -> None:
    counts = {"completed": -1, "failed": True}
    body = {"id": "b", "status": "failed", "errors": errors, "request_counts": counts}
    found = await batches_of(says(body)).get("b")
    assert (found.code, found.error, found.answered, found.failed) == (code, words, 0, 0)


async def lines_of(answer: Answer, **settings: Any) -> list[Line]:
    return [line async for line in batches_of(answer, **settings).lines("file")]


async def test_lines_that_answer_nothing_are_left_out_and_the_last_may_lack_its_end() -> None:
    rows = [
        {"custom_id": "1", "response": {"status_code": 200, "body": {"x": 1}}},
        {"custom_id": "2", "response": None, "error": {"code": "batch_expired"}},
        {"custom_id": 3},
        [],
    ]
    text = "\n".join(["", "{broken", *map(json.dumps, rows), '{"custom_id": "4"}'])
    found = await lines_of(says(text.encode()))
    assert found == [Line("1", 200, {"x": 1}), Line("2", None), Line("4", None)]
    assert [line.is_good for line in found] == [True, False, False]
    # white space behind the last line feed is no line
    assert await lines_of(says(b'{"custom_id": "1"}\n  ')) == [Line("1", None)]


async def test_a_line_that_does_not_end_is_not_kept() -> None:
    with failing("a line of the answers has more than 50 bytes") as caught:
        await lines_of(says(b'{"custom_id": "' + b"1" * 100), max_reply_bytes=50)
    assert not caught.value.is_passing


async def test_a_refused_file_is_said_by_its_beginning() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"gone " * 2_000

    with failing("files/file/content: HTTP 410: gone gone") as caught:
        await lines_of(lambda _: httpx.Response(410, content=endless()))
    assert sent == 7
    assert caught.value.status == 410
    with failing("HTTP 404: no file"):
        await lines_of(says({"message": "no file"}, 404))


class Desk:
    """Answers that have come, in the order of the questions; what is left is noted."""

    def __init__(self, *found: Found) -> None:
        self.coming = list(found)
        self.left: list[Question] = []

    def find(self, key: str) -> Found | None:
        return self.coming.pop(0) if self.coming else None

    def leave(self, question: Question) -> None:
        self.left.append(question)


ANSWER = {
    "choices": [{"message": {"content": "A"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1},
}


def noting(asked: list[httpx.Request]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=ANSWER)

    return answer


def in_batch(content: Any = ANSWER, **fields: Any) -> Found:
    return Found("answered", content=content, **fields)


def judge_of(answer: Answer, **settings: Any) -> OpenAIJudge:
    made = OpenAISettings(
        "j", "http://server/v1", "m", batch_endpoint=True, orders="as_posted", **settings
    )
    transport = httpx.MockTransport(answer)
    return OpenAIJudge(made, load_template("pairwise"), transport=transport, environ={})


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (Found("lost", detail="the file is gone"), FailureKind.UNAVAILABLE, "the file is gone"),
        (in_batch({"message": "no"}, status=401), FailureKind.UNAVAILABLE, "HTTP 401"),
        (in_batch({"error": {"message": "invalid request"}}), FailureKind.REFUSED, "invalid"),
    ],
)
async def test_what_a_batch_lost_or_refused_is_a_failure_and_asks_nothing(
    found: Found, kind: FailureKind, words: str
) -> None:
    asked: list[httpx.Request] = []
    with answers_may_wait(Desk(found)):
        score = await judge_of(noting(asked)).score(pair_of())
    assert score.failure is not None
    assert (score.failure.kind, words in score.failure.detail) == (kind, True)
    assert asked == []


async def test_an_answer_of_a_batch_costs_what_its_usage_says() -> None:
    asked: list[httpx.Request] = []
    prices = {"price_input": 2.0, "price_output": 2.0, "batch_price": 0.5}
    judge = judge_of(noting(asked), **prices)
    found = in_batch(flags=("omitted:temperature", "omitted:seed", "temperature"))
    with answers_may_wait(Desk(found)):
        score = await judge.score(pair_of())
    assert score.p_a == 1.0
    assert score.cost_usd == pytest.approx(11e-6)
    assert judge.batched_usd(found.content) == pytest.approx(11e-6)
    assert judge.batched_usd({"choices": []}) is None
    # this process asks from now on as the one does that sent the batch
    await judge.score(pair_of())
    body = json.loads(asked[0].content)
    assert "temperature" not in body
    assert "logprobs" in body


def test_questions_of_which_one_was_left_out_are_asked_directly() -> None:
    bodies = Bodies(OpenAISettings("j", "http://server/v1", "m"))
    desk = Desk(Found("left_out"))
    later = Later(desk, "j", "subject", bodies, leaves=True)
    later.prepare({(0, False): dict})
    assert later.found((0, False)) is None
    # and so are those that come up after it
    later.prepare({(1, False): dict})
    assert (later.found((1, False)), desk.left) == (None, [])


async def test_health_says_where_a_provider_has_no_batches() -> None:
    for status, said in ((200, ""), (404, "has no batches"), (500, "out of luck")):
        batches = httpx.Response(status, json={"data": [], "message": "out of luck"})

        def reply(request: httpx.Request, batches: httpx.Response = batches) -> httpx.Response:
            if request.url.path.endswith("batches"):
                return batches
            return httpx.Response(200, json={"data": [{"id": "m"}]})

        health = await judge_of(reply).health()
        assert health.is_ready
        assert (said in health.detail) if said else not health.detail
