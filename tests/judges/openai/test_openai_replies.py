"""Reading replies: whatever the body is, it is a reply, a typed failure, or named unreadable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.openai.replies import (
    Reply,
    ReplyUnreadable,
    failure_of_status,
    labels_of_reply,
    read_reply,
)
from judges.prompting.label_tokens import LabelMatcher, LabelProbabilities
from judges.types import FailureKind, JudgeFailure, TokenUsage

AB = LabelMatcher(["A", "B"])


def chat(*positions: Any, **choice: Any) -> bytes:
    logprobs = {"content": list(positions)}
    message = {"role": "assistant", "content": "A"}
    return json.dumps({"choices": [{"message": message, "logprobs": logprobs, **choice}]}).encode()


def position(token: str, **probabilities: float) -> dict[str, Any]:
    entries = [{"token": t, "logprob": lp} for t, lp in probabilities.items()]
    return {"token": token, "logprob": -1.0, "top_logprobs": entries}


def completion(**logprobs: Any) -> bytes:
    return json.dumps({"choices": [{"text": "A", "logprobs": logprobs}]}).encode()


def test_white_space_before_the_label_is_passed_over() -> None:
    reply = read_reply(chat(position("\n", A=-3.0), position("B", A=-2.0, B=-0.2)), "chat")
    assert reply.top_logprobs == [("A", -2.0), ("B", -0.2)]
    plain = completion(tokens=["\n", "B"], top_logprobs=[{"A": -3.0}, {"B": -0.2}])
    assert read_reply(plain, "completions").top_logprobs == [("B", -0.2)]


def test_white_space_alone_is_what_was_said() -> None:
    assert read_reply(chat(position("\n", A=-3.0)), "chat").top_logprobs == [("A", -3.0)]


@pytest.mark.parametrize(
    "body", [chat(), chat({"token": "A"}), chat(logprobs={}), chat(logprobs=None), completion()]
)
def test_without_log_probs_the_text_remains(body: bytes) -> None:
    reply = read_reply(body, "completions" if b'"text"' in body else "chat")
    assert (reply.top_logprobs, reply.text) == ([], "A")
    said = labels_of_reply(reply, AB)
    assert isinstance(said, LabelProbabilities)
    assert said.shares == (1.0, 0.0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no JSON"),
        (b"[]", "the body: not an object"),
        (b"{}", "choices: missing"),
        (b'{"choices": [1]}', "choices.0: not an object"),
        (b'{"choices": [{}]}', "choices.0.message: not an object"),
        (chat(1), "choices.0.logprobs.content.0: not an object"),
        (chat({"token": "A", "top_logprobs": 1}), "choices.0.logprobs.content.0.top_logprobs"),
        (chat({"token": "A", "top_logprobs": [{}]}), "an entry has no token"),
    ],
)
def test_a_body_that_is_no_reply_is_said_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(ReplyUnreadable, match=message):
        read_reply(body, "chat")


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": -1}, {"prompt_tokens": True}])
def test_usage_that_is_not_reported_properly_is_unknown(usage: Any) -> None:
    content = json.loads(chat(position("A", A=-0.1)))
    assert read_reply(json.dumps({**content, "usage": usage}).encode(), "chat").usage is None


def test_cached_tokens_are_read_where_they_are_reported() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    with_cache = {**usage, "prompt_tokens_details": {"cached_tokens": 4}}
    for reported, cached in ((usage, 0), (with_cache, 4)):
        body = json.dumps({**json.loads(chat()), "usage": reported}).encode()
        assert read_reply(body, "chat").usage == TokenUsage(9, 1, cached)


def test_an_answer_cut_off_while_thinking_is_a_failure_that_says_so() -> None:
    said = labels_of_reply(Reply("<think>Let me", [], "length", None, None, None), AB)
    assert isinstance(said, JudgeFailure)
    assert said.kind is FailureKind.UNPARSEABLE
    assert "'length'" in said.detail


def test_a_content_filter_is_a_refusal() -> None:
    said = labels_of_reply(Reply("A", [("A", -0.1)], "content_filter", None, None, None), AB)
    assert isinstance(said, JudgeFailure)
    assert said.kind is FailureKind.REFUSED


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input exceeds the context window of this model",
    ],
)
def test_context_overflow_is_known_by_its_message(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    assert failure_of_status(400, body).kind is FailureKind.CONTEXT_OVERFLOW
    assert failure_of_status(500, body).kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"null", b'{"error": "x"}', b'["x"]', b"9" * 9000]
)
def test_any_error_body_is_a_short_message(body: bytes) -> None:
    failure = failure_of_status(500, body)
    assert failure.kind is FailureKind.SERVER_ERROR
    assert len(failure.detail) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["A", "B", " ", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "logprobs", "token", "top_logprobs"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(json_values, json_values, json_values, st.sampled_from(["chat", "completions"]))
def test_any_json_is_a_reply_or_is_named_unreadable(
    choice: Any, logprobs: Any, message: Any, endpoint: Any
) -> None:
    fields = {"logprobs": logprobs, "message": message, "text": message}
    whole = {"choices": [{**choice, **fields} if isinstance(choice, dict) else choice]}
    try:
        reply = read_reply(json.dumps(whole).encode(), endpoint)
    except ReplyUnreadable:
        return
    assert isinstance(labels_of_reply(reply, AB), LabelProbabilities | JudgeFailure)
