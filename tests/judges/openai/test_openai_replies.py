"""Reading replies: whatever the body is, it is a reply, a typed failure, or named unreadable."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.openai.answers import Reading, labels_of_reply, verbalized_labels
from judges.openai.bodies import Bodies
from judges.openai.clients import missing_model
from judges.openai.failures import complaint_of_status, complaint_within
from judges.openai.replies import Position, Reply, ReplyUnreadable, parse_json, read_reply
from judges.openai.settings import OpenAISettings
from judges.openai.waits import wait_seconds
from judges.prompting.label_tokens import LabelMatcher, LabelProbabilities, TokenLogprob
from judges.types import FailureKind, JudgeFailure, TokenUsage

AB = Reading(LabelMatcher(["A", "B"]))


def read(body: bytes, endpoint: Any = "chat") -> Reply:
    return read_reply(parse_json(body), endpoint)


def failure_of_status(status: int, body: bytes) -> JudgeFailure:
    return complaint_of_status(status, {}, body, now=0.0).failure


def tops(reply: Reply) -> list[list[tuple[str, object]]]:
    return [[entry[:2] for entry in position.top or ()] for position in reply.positions]


def chat(*positions: Any, **choice: Any) -> bytes:
    logprobs = {"content": list(positions)}
    message = {"role": "assistant", "content": "A"}
    return json.dumps({"choices": [{"message": message, "logprobs": logprobs, **choice}]}).encode()


def position(token: str, **logprobs: float) -> dict[str, Any]:
    entries = [{"token": t, "logprob": lp} for t, lp in logprobs.items()]
    return {"token": token, "logprob": logprobs.get(token), "top_logprobs": entries}


def completion(**logprobs: Any) -> bytes:
    return json.dumps({"choices": [{"text": "A", "logprobs": logprobs}]}).encode()


def test_both_forms_of_log_probs_are_read_at_both_endpoints() -> None:
    by_position = chat(position("\n", A=-3.0), position("A", A=-0.2, B=-2.0))
    columns = {"tokens": ["\n", "A"], "top_logprobs": [{"A": -3.0}, {"A": -0.2, "B": -2.0}]}
    by_column = completion(**columns)
    expected = [[("A", -3.0)], [("A", -0.2), ("B", -2.0)]]
    assert tops(read(by_position)) == tops(read(by_column, "completions")) == expected
    chat_body = json.loads(chat())
    chat_body["choices"][0]["logprobs"] = columns
    assert tops(read(json.dumps(chat_body).encode())) == expected
    text_body = json.loads(completion())
    text_body["choices"][0]["logprobs"] = json.loads(by_position)["choices"][0]["logprobs"]
    assert tops(read(json.dumps(text_body).encode(), "completions")) == expected


def test_a_name_that_a_json_object_holds_twice_is_two_entries() -> None:
    body = b"""{"choices": [{"text": "A", "logprobs": {"tokens": ["A"],
        "top_logprobs": [{"A": -0.25, "B": -1.7, "A": -5.5}]}}]}"""
    assert tops(read(body, "completions")) == [[("A", -0.25), ("B", -1.7), ("A", -5.5)]]


@pytest.mark.parametrize(
    "body", [chat(), chat({"token": "A"}), chat(logprobs={}), chat(logprobs=None), completion()]
)
def test_without_log_probs_the_text_remains(body: bytes) -> None:
    reply = read(body, "completions" if b'"text"' in body else "chat")
    assert (tops(reply) in ([], [[]]), reply.text) == (True, "A")
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
        (chat({"token": "A", "top_logprobs": [{}]}), "no entry has a token"),
    ],
)
def test_a_body_that_is_no_reply_is_said_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(ReplyUnreadable, match=message):
        read(body)


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": -1}, {"prompt_tokens": True}])
def test_usage_that_is_not_reported_properly_is_unknown(usage: Any) -> None:
    content = json.loads(chat(position("A", A=-0.1)))
    assert read(json.dumps({**content, "usage": usage}).encode()).usage is None


def test_cached_tokens_are_read_where_they_are_reported() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    with_cache = {**usage, "prompt_tokens_details": {"cached_tokens": 4}}
    for reported, cached in ((usage, 0), (with_cache, 4)):
        body = json.dumps({**json.loads(chat()), "usage": reported}).encode()
        assert read(body).usage == TokenUsage(9, 1, cached)


def test_an_answer_cut_off_while_thinking_is_a_failure_that_says_so() -> None:
    said = labels_of_reply(Reply("<think>Let me", finish_reason="length"), AB)
    assert isinstance(said, JudgeFailure)
    assert said.kind is FailureKind.UNPARSEABLE
    assert "'length'" in said.detail


@pytest.mark.parametrize(
    "text",
    [
        "A (85%)", "Answer: A (85%)", "A - 85% confident", "A, confidence: 90%", "Model A",
        "\u200bA", "<b>A</b>", "<response>A</response>", "Sure: A", "Here: A",
        '```json\n{"verdict": "A"}\n```', "<scratchpad>B</scratchpad>A",
        "<longcat_think>B</longcat_think>A", "<|inner_prefix|>B<|inner_suffix|>A",
        "A\n\nIt is better than the other one.", "A. The first response is better.",
    ],
)  # fmt: skip
def test_a_label_with_what_models_put_around_it_is_a_vote(text: str) -> None:
    said = labels_of_reply(Reply(text, finish_reason="stop"), AB)
    assert isinstance(said, LabelProbabilities), said
    assert said.shares == (1.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "A (30%)", "Answer: A (50%)", "A. 15%", "A (130%)", "A\nis wrong", "Answer: A\nis wrong.",
        "A because it is wrong", "A, since it is worse", "A. Incorrect.", "A. No.",
        "A\n\nActually, I change my mind.", "A. Wait.", "A\n\nThe second response is better.",
        "<scratchpad>A", "<|inner_prefix|>A", "A > B", "[[A>B]]", "Anyone but A",
    ],
)  # fmt: skip
def test_a_label_that_is_taken_back_is_no_vote(text: str) -> None:
    said = labels_of_reply(Reply(text, finish_reason="stop"), AB)
    assert isinstance(said, JudgeFailure), said
    assert said.kind is FailureKind.UNPARSEABLE


@pytest.mark.parametrize("text", ["2\n\nIt is wrong on the date.", "2. This is worse than most."])
def test_a_rating_says_what_is_wrong(text: str) -> None:
    said = labels_of_reply(Reply(text, finish_reason="stop"), Reading(LabelMatcher("12345")))
    assert isinstance(said, LabelProbabilities), said
    assert said.shares[1] == 1.0


@pytest.mark.parametrize("tail", [" confidence" + " " * 10**5, " 85%" + "!" * 10**5 + "x"])
def test_a_long_tail_of_a_label_is_gone_through_once(tail: str) -> None:
    # the time of a search that tries every cut of the tail would be counted in minutes
    assert isinstance(labels_of_reply(Reply("A" + tail), AB), JudgeFailure)


def test_a_content_filter_is_a_refusal() -> None:
    said = labels_of_reply(
        Reply(
            "A",
            (Position("A", -0.1, (TokenLogprob("A", -0.1),)),),
            finish_reason="content_filter",
        ),
        AB,
    )
    assert isinstance(said, JudgeFailure)
    assert said.kind is FailureKind.REFUSED


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input exceeds the context window of this model",
        "Too many input tokens. Max input tokens: 300000, request input token count: 400000",
        "Your request exceeded model token limit: 8192",
        "prompt token count (10000) plus max_tokens (1) cannot exceed 4096.",
        "the input token count is 200000 but model only supports up to 131072.",
        "max_tokens must be at least 1, got -904.",
        "Total tokens of image and text exceed max message tokens.",
        "Tokens in request more than max tokens allowed",
        "messages have 9000 tokens, which exceeds the max limit of 8192 tokens",
        "the max length of current question is 20000",
        "prompt has 9000 tokens, but n_ctx is 4096",
        "Conversation is too long",
        "token\u6570\u8d85\u8fc7\u4e0a\u9650",
    ],
)
def test_context_overflow_is_known_by_its_message(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    for status in (400, 500):  # a gateway makes a 500 of any refusal behind it
        assert failure_of_status(status, body).kind is FailureKind.CONTEXT_OVERFLOW


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (429, "which is limited to 1000 API calls / month", FailureKind.UNAVAILABLE),
        (429, "which is limited to 40 API calls / minute", FailureKind.RATE_LIMITED),
        (429, "Sorry, your account balance is insufficient", FailureKind.UNAVAILABLE),
        (429, "You have reached your weekly limit", FailureKind.UNAVAILABLE),
        (412, "Account is suspended: it reached its monthly limit", FailureKind.UNAVAILABLE),
        (400, "API key not valid. Please pass a valid API key.", FailureKind.UNAVAILABLE),
        (400, "some/model is not a valid model ID", FailureKind.UNAVAILABLE),
        (400, "The model `m` has been decommissioned", FailureKind.UNAVAILABLE),
        (500, "model 'm' not found, try pulling it first", FailureKind.UNAVAILABLE),
        (400, "No models loaded. Please load a model", FailureKind.UNAVAILABLE),
        (500, "could not load model: rpc error", FailureKind.UNAVAILABLE),
        (400, "The model `m` requires terms acceptance", FailureKind.UNAVAILABLE),
        (400, "Your organization must be verified to use the model `m`", FailureKind.UNAVAILABLE),
        (400, "Gemini API free tier is not available in your country", FailureKind.UNAVAILABLE),
        (400, "Missing required query parameter: api-version", FailureKind.UNAVAILABLE),
        (400, "operation does not work with the specified model", FailureKind.UNAVAILABLE),
        (400, "This is not a chat model", FailureKind.UNAVAILABLE),
        (400, "This model is only supported in v1/responses", FailureKind.UNAVAILABLE),
        (400, "Unable to access non-serverless model m", FailureKind.UNAVAILABLE),
        (400, "on-demand throughput isn't supported", FailureKind.UNAVAILABLE),
        (400, "The provided model identifier is invalid.", FailureKind.UNAVAILABLE),
        (429, "You have exceeded today's quota for model m", FailureKind.UNAVAILABLE),
        (429, "token quota: 0, please check your account balance", FailureKind.UNAVAILABLE),
        (429, "Credit limit exceeded", FailureKind.UNAVAILABLE),
        (429, "set limit reached, and the model service has been paused", FailureKind.UNAVAILABLE),
        (429, "Open api total request limit reached", FailureKind.UNAVAILABLE),
        (429, "We see high demand today: try again later", FailureKind.RATE_LIMITED),
        (500, "lost the deployment with api_version 3", FailureKind.SERVER_ERROR),
        (400, "max_tokens \u8d85\u8fc7\u6700\u5927\u503c", FailureKind.REFUSED),
        (
            429,
            "\u60a8\u5df2\u8fbe\u5230\u6bcf\u5468\u4f7f\u7528\u4e0a\u9650",
            FailureKind.UNAVAILABLE,
        ),
        (500, "model m failed to answer", FailureKind.SERVER_ERROR),
        (400, "the model may answer in one word only", FailureKind.REFUSED),
        (500, "Internal server error", FailureKind.SERVER_ERROR),
    ],
)
def test_what_no_other_prompt_would_change_makes_a_judge_unavailable(
    status: int, message: str, kind: FailureKind
) -> None:
    assert failure_of_status(status, json.dumps({"message": message}).encode()).kind is kind


def test_a_server_says_that_another_attempt_does_not_help() -> None:
    for said, helps in (({}, True), ({"x-should-retry": "false"}, False)):
        assert complaint_of_status(429, said, b"", now=0.0).is_passing is helps


@pytest.mark.parametrize(
    "body",
    [
        {"statusCode": 429, "message": "x"},
        {"error": True, "message": "Too many requests"},
        {"fault": {"faultstring": "Rate limit quota violation"}},
        {"__type": "ThrottlingException", "Message": "Rate exceeded"},
    ],
)
def test_an_error_within_a_200_is_found_in_the_form_of_any_gateway(body: Any) -> None:
    complaint = complaint_within(body, {}, now=0.0)
    assert complaint is not None
    assert complaint.failure.kind is FailureKind.RATE_LIMITED, complaint
    assert complaint.failure.detail not in ("HTTP 200 with an error that names 429: True", "")


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"null", b'{"error": "x"}', b'["x"]', b"9" * 9000]
)
def test_any_error_body_is_a_short_message(body: bytes) -> None:
    failure = failure_of_status(500, body)
    assert failure.kind is FailureKind.SERVER_ERROR
    assert len(failure.detail) < 400


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        # an error in words alone, and one of many in a list
        ({"object": "error", "error": "rate limit reached"}, FailureKind.RATE_LIMITED),
        ([5, {"error": {"message": "Too many requests"}}], FailureKind.RATE_LIMITED),
        # a code that is no error's says nothing: the next field does
        ({"error": {"code": 200, "status": 429, "message": "x"}}, FailureKind.RATE_LIMITED),
        ({"error": {"code": "200", "message": "Purple"}}, FailureKind.SERVER_ERROR),
        ({"object": "error", "error": "Purple"}, FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_within_a_200_means_what_its_words_say(body: Any, kind: FailureKind) -> None:
    complaint = complaint_within(body, {}, now=0.0)
    assert complaint is not None
    assert complaint.failure.kind is kind


@pytest.mark.parametrize("body", [{"choices": [1]}, {"choices": ["A"], "message": "x"}, [], [5]])
def test_a_body_that_says_nothing_of_an_error_is_none(body: Any) -> None:
    assert complaint_within(body, {}, now=0.0) is None


def test_a_wait_that_cannot_be_read_is_none() -> None:
    used_up = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}
    assert wait_seconds(used_up, {}, now=0.0) is None
    assert wait_seconds({**used_up, "ratelimit-reset": "7"}, {}, now=0.0) == 7
    # nobody says it so deep in a body that the search would not end
    deep: Any = {"estimated_time": 5}
    for _ in range(6):
        deep = {"inner": deep}
    assert wait_seconds({}, deep, now=0.0) is None
    assert wait_seconds({}, deep["inner"], now=0.0) == 5


@pytest.mark.parametrize(
    ("content", "said"), [({"models": ["judge"]}, None), ("judge", "not with a list of models")]
)
def test_a_list_of_models_is_read_in_any_form(content: Any, said: str | None) -> None:
    found = missing_model(content, "judge")
    assert (said in found) if said and found else found is said


def test_a_message_in_pieces_is_one_text() -> None:
    pieces = ["A", 5, {"type": "text", "text": " is"}, {"type": "text", "text": {"value": " it"}}]
    body = {"choices": [{"message": {"content": pieces}}]}
    assert read(json.dumps(body).encode()).text == "A is it"


def test_a_position_without_a_name_is_that_of_its_most_probable_token() -> None:
    tops = [{"token": "B", "logprob": -2.0}, {"token": "A", "logprob": -0.2}]
    [found] = read(chat({"top_logprobs": tops})).positions
    assert (found.token, found.logprob) == ("A", -0.2)


def test_probabilities_in_place_of_their_logarithms_are_read() -> None:
    tops = [{"tok_str": "A", "prob": 1.0}, {"tok_str": "B", "prob": 0.0}]
    reply = read(chat({"token": "A", "prob": 1.0, "probs": tops}))
    assert tops_of_first(reply) == [("A", 0.0), ("B", -math.inf)]
    assert reply.positions[0].is_one_hot
    # what is no number is no such filler, and fails where it is a label
    odd = [{"token": "A", "logprob": 0.0}, {"token": "B", "logprob": True}]
    assert (
        not read(chat({"token": "A", "logprob": 0.0, "top_logprobs": odd})).positions[0].is_one_hot
    )


def tops_of_first(reply: Reply) -> list[tuple[str, object]]:
    return tops(reply)[0]


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply("", refusal="I cannot help"), FailureKind.REFUSED, "I cannot help"),
        (Reply("<think>A 90%"), FailureKind.UNPARSEABLE, "still thinking"),
        (Reply("A " + "x" * 100 + " 90%"), FailureKind.UNPARSEABLE, "no label with a percentage"),
    ],
)
def test_a_stated_percentage_may_be_missing(reply: Reply, kind: FailureKind, words: str) -> None:
    said = verbalized_labels(reply, AB.matcher)
    assert isinstance(said, JudgeFailure)
    assert (said.kind, words in said.detail) == (kind, True)


@pytest.mark.parametrize("text", ["A is better than A", "A is better than C."])
def test_a_label_that_beats_itself_or_nobody_is_no_vote(text: str) -> None:
    assert isinstance(labels_of_reply(Reply(text, finish_reason="stop"), AB), JudgeFailure)


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
        reply = read(json.dumps(whole).encode(), endpoint)
    except ReplyUnreadable:
        return
    assert isinstance(labels_of_reply(reply, AB), LabelProbabilities | JudgeFailure)


def test_a_limit_that_the_settings_name_is_advised_about() -> None:
    sent = {"max_tokens": 5}
    failure = JudgeFailure(FailureKind.REFUSED, "HTTP 400: unknown parameter max_tokens")
    bodies = Bodies(OpenAISettings("j", "http://server/v1", "m", max_tokens=5))
    advised = bodies.advised(failure, sent).detail
    assert 'set max_tokens, or omit = ["max_tokens"] and max_completion_tokens' in advised
    assert bodies.advised(failure, {}) == failure


@pytest.mark.parametrize(
    "message",
    [
        "got system error 5",
        "The system is not available",
        "'The temperature and weather' is not allowed by policy",
        "max_tokens must be at least 16: {'max_tokens': 1, 'temperature': 0}",
        "Requested sample logprobs of 20, which is greater than max allowed: 5",
        "param 'max_completion_tokens' is not supported",
    ],
)
def test_words_of_something_else_give_up_no_field(message: str) -> None:
    bodies = Bodies(OpenAISettings("j", "http://server/v1", "m"))
    sent = {
        "messages": [{"role": "system", "content": "x"}],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert bodies.learn(message, sent) is None
    assert bodies.flags == ()
