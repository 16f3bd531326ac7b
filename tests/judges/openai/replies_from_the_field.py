"""Replies of real model servers, and what a judge must make of each.

Every reply prefers the same response with P = .8. Expected is its p_a, or the kind of failure. A
vote is a p_a of 1 with the flag `no_logprobs`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from judges.types import FailureKind, Score
from tests.judges.openai.case_server import (
    PREFERRED,
    Asked,
    Reply,
    Sent,
    answer,
    labels,
    logprob,
    position,
    refusal,
    usage_of,
)

VOTE = "vote"
LOWEST = -3.4028234663852886e38


@dataclass(frozen=True)
class Case:
    """A reply and what is right for it."""

    reply: Reply
    right: float | str | FailureKind
    words: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    calls: int | None = None  # of one pair shown in one order


def _reasoned(asked: Asked, span: str = "think") -> list[dict[str, Any]]:
    """Positions of a reasoning span that speaks of the other label, then the label."""
    wrong = [{"token": asked.other, "logprob": -0.05}, {"token": asked.best, "logprob": -4.0}]
    thinking = [
        position(token, wrong) for token in (f"<{span}>", asked.other, " wins?", f"</{span}>")
    ]
    return [*thinking, position("\n\n", labels(asked)[::-1]), position(asked.best, labels(asked))]


def _prefixed(asked: Asked, *tokens: str, tail: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Positions of other tokens, whose lists prefer the other label, around the label."""
    wrong = [{"token": asked.other, "logprob": -1.0}, {"token": asked.best, "logprob": -2.0}]
    around = {
        token: position(token, [{"token": token, "logprob": -0.9}, *wrong])
        for token in tokens + tail
    }
    return [
        *(around[t] for t in tokens),
        position(asked.best, labels(asked)),
        *(around[t] for t in tail),
    ]


def thinking_cut_off(asked: Asked) -> Sent:
    tops = [
        {"token": "<think>", "logprob": -1e-5},
        {"token": asked.other, "logprob": logprob(5e-6)},
    ]
    tops.append({"token": asked.best, "logprob": logprob(4e-6)})
    return answer(asked, "<think>", [position("<think>", tops)])


def two_ids_of_one_text(asked: Asked) -> Sent:
    tops = [
        {"token": asked.best, "logprob": logprob(0.784)},
        {"token": asked.other, "logprob": logprob(0.196)},
        {"token": asked.best, "logprob": logprob(0.004)},
    ]
    return answer(asked, None, [position(asked.best, tops)])


def sampled_beside_the_list(asked: Asked) -> Sent:
    tops = [
        {"token": f"\u0120{asked.other}", "logprob": logprob(0.196)},
        {"token": f"\u0120{asked.best}", "logprob": logprob(0.01)},
    ]
    own = {"token": asked.best, "logprob": logprob(0.784), "top_logprobs": tops}
    return answer(asked, None, [own])


def contradicting(asked: Asked) -> Sent:
    return answer(
        asked,
        asked.other,
        [{"token": asked.other, "logprob": logprob(0.95), "top_logprobs": labels(asked)}],
    )


def of_other_text(asked: Asked) -> Sent:
    return answer(asked, asked.other, [position(asked.best, labels(asked))])


def without_the_sampled(asked: Asked) -> Sent:
    own = {"token": asked.best, "logprob": None, "top_logprobs": labels(asked)[1:]}
    return answer(asked, None, [own])


def unlikely_sample(asked: Asked) -> Sent:
    return answer(asked, asked.other, [position(asked.other, labels(asked))])


def completions_form(asked: Asked) -> Sent:
    tops = {top["token"]: top["logprob"] for top in labels(asked)}
    listed = {
        "tokens": [asked.best],
        "token_logprobs": [tops[asked.best]],
        "top_logprobs": [tops],
        "text_offset": [0],
    }
    return answer(asked, logprobs=listed)


def one_hot(filler: object) -> Reply:
    def reply(asked: Asked) -> Sent:
        tops = [
            {"token": asked.best, "logprob": 0.0},
            {"token": asked.other, "logprob": filler},
            {"token": "The", "logprob": filler},
        ]
        return answer(asked, None, [position(asked.best, tops)])

    return reply


def unreadable(share: object, *, of_label: bool = False) -> Reply:
    def reply(asked: Asked) -> Sent:
        tops = labels(asked)
        if of_label:
            tops[1]["logprob"] = share
        return answer(
            asked, None, [position(asked.best, [*tops, {"token": "The", "logprob": share}])]
        )

    return reply


def said(template: str, **fields: Any) -> Reply:
    """A reply without log-probs; {} stands for the label."""

    def reply(asked: Asked) -> Sent:
        named = template.replace("{}", asked.best).replace("{other}", asked.other)
        return answer(asked, named, logprobs=False, **fields)

    return reply


def chunks(asked: Asked) -> Sent:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": f"{asked.other}?"}]}
    return answer(asked, [thought, {"type": "text", "text": asked.best}], logprobs=False)


def within_200(times: float, code: object, message: str = "Provider returned error") -> Reply:
    def reply(asked: Asked) -> Sent:
        if asked.number >= times:
            return answer(asked)
        metadata = {"raw": "upstream is full", "provider_name": "Somewhere"}
        return Sent({"error": {"code": code, "message": message, "metadata": metadata}})

    return reply


def first(sent: Callable[[Asked], Sent], times: float = 1) -> Reply:
    return lambda asked: sent(asked) if asked.number < times else answer(asked)


def quota_of_gemini(limit: int, wait: str) -> str:
    """The words of Gemini, as gateways hand them on without the details."""
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    return (
        "You exceeded your current quota, please check your plan and billing details. For more"
        " information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To"
        " monitor your current usage, head to: https://ai.dev/usage?tab=rate-limit. "
        + f"\n* Quota exceeded for metric: {metric}, limit: {limit}, model: gemini-2.0-flash" * 3
        + f"\nPlease retry in {wait}."
    )


def refused_once(status: int) -> Reply:
    return first(lambda _: refusal(status, "x"))


def always(sent: Sent) -> Reply:
    return lambda _: sent


def stopped(reason: str, times: float = math.inf) -> Reply:
    def reply(asked: Asked) -> Sent:
        sent = answer(asked, "", [], finish_reason=reason)
        return sent if asked.number < times else answer(asked)

    return reply


def cut(asked: Asked) -> Sent:
    whole = answer(asked)
    return Sent(whole.body, cut=20, billed=whole.billed)


def raw(body: bytes, **headers: str) -> Reply:
    return always(Sent(body, headers={name.replace("_", "-"): v for name, v in headers.items()}))


def kept_alive(asked: Asked) -> Sent:
    sent = answer(asked)
    return Sent(
        b": PROCESSING\n\n: PROCESSING\n\n" + json.dumps(sent.body).encode(), billed=sent.billed
    )


def billed(tokens: tuple[int, int], **usage: Any) -> Reply:
    def reply(asked: Asked) -> Sent:
        sent = answer(asked, usage=usage_of(**usage))
        sent.billed = tokens
        return sent

    return reply


def by_id(asked: Asked) -> Sent:
    """A list as an object by token id."""
    tops = {
        str(32 + rank): {"logprob": top["logprob"], "rank": rank + 1, "decoded_token": top["token"]}
        for rank, top in enumerate(labels(asked))
    }
    return answer(asked, None, [{**position(asked.best, labels(asked)), "top_logprobs": tops}])


def by_bytes(asked: Asked) -> Sent:
    """Tokens that only their bytes name."""
    tops = [{**top, "token": "", "bytes": list(top["token"].encode())} for top in labels(asked)]
    return answer(asked, None, [{**tops[0], "top_logprobs": tops}])


def full_width(asked: Asked) -> Sent:
    tops = [{**top, "token": chr(ord(top["token"]) + 0xFEE0)} for top in labels(asked)]
    return answer(asked, tops[0]["token"], [position(tops[0]["token"], tops)])


def sampled_alone(asked: Asked) -> Sent:
    return answer(asked, None, [position(asked.best, labels(asked)[:1])])


def harmony(asked: Asked) -> Sent:
    analysis = ("<|channel|>", "analysis", "<|message|>", asked.other, "<|end|>")
    final = ("<|start|>", "assistant", "<|channel|>", "final", "<|message|>")
    positions = _prefixed(asked, *analysis, *final, tail=("<|return|>",))
    return answer(asked, None, positions, reasoning="so")


ORDINARY = PREFERRED
TOO_LONG = FailureKind.CONTEXT_OVERFLOW
UNREADABLE = FailureKind.UNPARSEABLE
GONE = FailureKind.UNAVAILABLE

CASES: dict[str, Case] = {
    "an ordinary answer": Case(answer, ORDINARY),
    # 1. where the answer stands
    "reasoning before the label, in text and tokens": Case(
        lambda a: answer(a, f"<think>{a.other} wins?</think>\n\n{a.best}", _reasoned(a)), ORDINARY
    ),
    "reasoning in the tokens, cut out of the text": Case(
        lambda a: answer(a, None, _reasoned(a), reasoning_content=f"{a.other} wins?"), ORDINARY
    ),
    "reasoning in the tokens without its marks": Case(
        lambda a: answer(
            a, None, _prefixed(a, a.other, " wins?", "\n"), reasoning_content=f"{a.other} wins?"
        ),
        ORDINARY,
    ),
    "reasoning under another name": Case(
        lambda a: answer(a, None, _reasoned(a, "thinking")), ORDINARY
    ),
    "reasoning as a channel": Case(harmony, ORDINARY),
    "one token, which begins to think": Case(thinking_cut_off, UNREADABLE, ("thinking",)),
    "one token of reasoning, cut out of the text": Case(
        lambda a: answer(a, "", [position("Okay", labels(a))], reasoning_content="Okay"),
        UNREADABLE,
        ("thinking",),
    ),
    "a reasoning parser that takes the answer for reasoning": Case(
        lambda a: answer(a, "", reasoning_content=a.best), UNREADABLE, ("thinking",)
    ),
    "labels with little mass": Case(
        lambda a: answer(
            a,
            "Both",
            [
                position(
                    "Both", [{"token": "Both", "logprob": -0.01}, {"token": a.other, "logprob": -5}]
                )
            ],
        ),
        UNREADABLE,
        ("min_label_mass",),
    ),
    "bold": Case(lambda a: answer(a, f"**{a.best}**", _prefixed(a, "**", tail=("**",))), ORDINARY),
    "bold, one token for the end": Case(
        lambda a: answer(
            a,
            f"**{a.best}**",
            [
                position("**", [{"token": "**", "logprob": -0.1}]),
                position(f"{a.best}**", [{**t, "token": t["token"] + "**"} for t in labels(a)]),
            ],
        ),
        ORDINARY,
    ),
    "a lone space first": Case(lambda a: answer(a, f" {a.best}", _prefixed(a, "\u2581")), ORDINARY),
    "nothing but a space": Case(
        lambda a: answer(a, " ", [position("\u2581", labels(a)[::-1])]), UNREADABLE, ("max_tokens",)
    ),
    "special tokens around": Case(
        lambda a: answer(a, None, _prefixed(a, "<|assistant|>", tail=("<|im_end|>", ""))), ORDINARY
    ),
    "Answer: and the label": Case(
        lambda a: answer(a, f"Answer: {a.best}", _prefixed(a, "Answer", ":", " ")), ORDINARY
    ),
    "a sentence with the label": Case(
        lambda a: answer(
            a,
            f"The better response is {a.best}.",
            _prefixed(a, "The better", " response", " is ", tail=(".",)),
        ),
        ORDINARY,
    ),
    "the label, then why": Case(
        lambda a: answer(
            a, f"{a.best}\n\nIt is correct.", _prefixed(a, tail=("\n\n", "It is correct."))
        ),
        ORDINARY,
    ),
    "an article that looks like a label": Case(
        lambda a: answer(
            a, f"{a.other} good answer names", _prefixed(a, a.other, " good answer names")
        ),
        UNREADABLE,
    ),
    "both labels, one after another": Case(
        lambda a: answer(a, f"{a.other}. {a.best}.", _prefixed(a, a.other, ". ", tail=(".",))),
        UNREADABLE,
    ),
    "a change of mind": Case(
        lambda a: answer(a, f"{a.other}\nNo: {a.best}", _prefixed(a, a.other, "\nNo: ")), UNREADABLE
    ),
    "raw tokens": Case(
        lambda a: answer(
            a,
            f"\n {a.best}",
            [
                position("\u010a", labels(a)[::-1]),
                position(f"\u0120{a.best}", labels(a, "\u0120")),
            ],
        ),
        ORDINARY,
    ),
    "thinking before a vote": Case(said("<think>{other}? No.</think>\n\n{}"), VOTE),
    "thinking before a vote, its start in the prompt": Case(
        said("{other}? No.</think>\n\n{}"), VOTE
    ),
    "channels run together, their marks left out": Case(
        said("analysisThe other one, {other}, is bad.assistantfinal{}"), VOTE
    ),
    "unfinished thinking before no vote": Case(said("<think>{}"), UNREADABLE, ("thinking",)),
    "a vote in a box": Case(said(r"\boxed{\text{{}}}"), VOTE),
    "a vote in JSON": Case(said('{"answer": "{}"}'), VOTE),
    "a vote in tags": Case(said("<answer>{}</answer>"), VOTE),
    "a vote after words": Case(said("Final answer: **{}**"), VOTE),
    "a vote denied": Case(said("The answer is not {other}"), UNREADABLE),
    "a vote struck out": Case(said("~~{other}~~"), UNREADABLE),
    "chunks of thinking and text": Case(chunks, VOTE),
    "chunks of thinking alone": Case(
        lambda a: answer(a, [{"type": "thinking", "thinking": a.best}], logprobs=False), UNREADABLE
    ),
    "reasoning beside a vote": Case(said("{}", reasoning="{other} is better."), VOTE),
    # 2. every distinct entry once, the sampled token among them
    "two token ids of one text": Case(two_ids_of_one_text, 0.788 / 0.984),
    "a list of two, the least first": Case(
        lambda a: answer(a, None, [position(a.best, labels(a)[::-1])]), ORDINARY
    ),
    "the same entry twice": Case(
        lambda a: answer(a, None, [position(a.best, [labels(a)[0], *labels(a)])]), ORDINARY
    ),
    "the sampled token beside the list": Case(sampled_beside_the_list, 0.794 / 0.99),
    "a sampled token that contradicts the list": Case(contradicting, UNREADABLE),
    "log-probs of another text": Case(of_other_text, UNREADABLE, ("other text",)),
    "a list without the sampled token": Case(without_the_sampled, UNREADABLE, ("sampled",)),
    "a greedy sample that is improbable": Case(unlikely_sample, UNREADABLE, ("temperature 0",)),
    "an improbable sample where the temperature is not 0": Case(
        unlikely_sample, ORDINARY, settings={"temperature": 1.0}
    ),
    # 3. both forms, at both endpoints
    "the completions form at the chat endpoint": Case(completions_form, ORDINARY),
    "the completions form": Case(completions_form, ORDINARY, settings={"endpoint": "completions"}),
    "the chat form at the completions endpoint": Case(
        answer, ORDINARY, settings={"endpoint": "completions"}
    ),
    "one-hot with the lowest float": Case(one_hot(LOWEST), VOTE),
    "one-hot with -9999": Case(one_hot(-9999.0), VOTE),
    "one-hot with -Infinity": Case(one_hot(-math.inf), VOTE),
    "one-hot with nothing else": Case(
        lambda a: answer(a, None, [position(a.best, [{"token": a.best, "logprob": 0.0}])]), VOTE
    ),
    "fillers of other tokens": Case(unreadable(-9999.0), ORDINARY),
    "no list": Case(lambda a: answer(a, None, [{"token": a.best, "logprob": -0.2}]), VOTE),
    "an empty content": Case(lambda a: answer(a, None, []), VOTE),
    # 4. only an unreadable label spoils an answer
    "-Infinity for another token": Case(unreadable(-math.inf), ORDINARY),
    "NaN for another token": Case(unreadable(math.nan), ORDINARY),
    "null for another token": Case(unreadable(None), ORDINARY),
    "a positive number for another token": Case(unreadable(1.5), ORDINARY),
    "NaN for a label": Case(unreadable(math.nan, of_label=True), UNREADABLE),
    "null for a label": Case(unreadable(None, of_label=True), UNREADABLE),
    # 5. a 200 is no answer until it holds one
    "429 within a 200, twice": Case(within_200(2, 429), ORDINARY, calls=3),
    "502 within a 200, for ever": Case(
        within_200(math.inf, 502),
        FailureKind.SERVER_ERROR,
        ("upstream is full", "Somewhere"),
        calls=5,
    ),
    "a status in words within a 200": Case(within_200(1, "rate_limit_exceeded"), ORDINARY, calls=2),
    "401 within a 200": Case(within_200(math.inf, 401), GONE, ("base_url",), calls=1),
    "402 within a 200": Case(within_200(math.inf, 402), GONE, calls=1),
    "an error of a choice": Case(
        first(lambda _: Sent({"choices": [{"error": {"code": 503, "message": "down"}}]})),
        ORDINARY,
        calls=2,
    ),
    "an error of FastChat": Case(
        always(
            Sent(
                {
                    "object": "error",
                    "message": "maximum context length is 4096 tokens",
                    "code": 40303,
                }
            )
        ),
        TOO_LONG,
    ),
    "an address without /v1": Case(
        always(Sent({"error": "Unexpected endpoint or method. (POST /chat/completions)"})),
        GONE,
        ("base_url", "Unexpected endpoint"),
        calls=1,
    ),
    "a detail within a 200": Case(
        always(Sent({"detail": "Not Found"})), GONE, ("base_url",), calls=1
    ),
    "blank lines, then an answer": Case(first(lambda _: Sent(b"\n\n\n")), ORDINARY, calls=2),
    "blank lines for ever": Case(raw(b"\n\n"), FailureKind.SERVER_ERROR, ("empty",), calls=5),
    "comments before the answer": Case(kept_alive, ORDINARY),
    "a body cut short, then an answer": Case(first(cut), ORDINARY, calls=2),
    "no gzip though it says so": Case(raw(b"{}", content_encoding="gzip"), UNREADABLE),
    "events though not asked for": Case(raw(b'data: {"choices": []}\n\n'), UNREADABLE, ("data:",)),
    "a page": Case(raw(b"<!doctype html><html>"), UNREADABLE, ("doctype",)),
    "stopped for lack of resources, once": Case(
        stopped("insufficient_system_resource", 1), ORDINARY, calls=2
    ),
    "stopped by a filter": Case(stopped("content_filter"), FailureKind.REFUSED),
    # 6. waiting
    "498, once": Case(first(lambda _: refusal(498, "capacity exceeded")), ORDINARY, calls=2),
    "425, once": Case(first(lambda _: Sent(b"Too Early", 425)), ORDINARY, calls=2),
    "529, once": Case(first(lambda _: refusal(529, "overloaded")), ORDINARY, calls=2),
    "a quota that is used up": Case(
        always(refusal(429, "You exceeded your current quota", code="insufficient_quota")),
        GONE,
        calls=1,
    ),
    "no balance": Case(always(refusal(402, "Insufficient Balance")), GONE, calls=1),
    "no credit": Case(always(refusal(400, "Your credit balance is too low")), GONE, calls=1),
    "too large for a minute": Case(
        always(refusal(429, "Request too large for m on tokens per min (TPM)")), TOO_LONG, calls=1
    ),
    "moderated": Case(
        always(refusal(403, "Your input was flagged by moderation")), FailureKind.REFUSED, calls=1
    ),
    # 8. words of a prompt that is too long
    "too long for TGI": Case(
        always(
            Sent(
                {
                    "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048."
                },
                422,
            )
        ),
        TOO_LONG,
    ),
    "too long for llama.cpp": Case(
        always(
            refusal(
                400,
                "the request exceeds the available context size",
                type="exceed_context_size_error",
            )
        ),
        TOO_LONG,
    ),
    "too long for Mistral": Case(
        always(
            Sent(
                {
                    "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"
                },
                400,
            )
        ),
        TOO_LONG,
    ),
    "too long for Gemini": Case(
        always(
            refusal(
                400,
                "The input token count (200000) exceeds the maximum number of tokens allowed (131072).",
            )
        ),
        TOO_LONG,
    ),
    # 9. money
    "reasoning in the total alone": Case(billed((300, 2001), total_tokens=2301), ORDINARY),
    "reasoning beside the completion": Case(
        billed((300, 501), completion_tokens_details={"reasoning_tokens": 500}), ORDINARY
    ),
    "reasoning within the completion": Case(
        billed(
            (300, 501),
            completion=501,
            total_tokens=801,
            completion_tokens_details={"reasoning_tokens": 500},
        ),
        ORDINARY,
    ),
    "an error that was billed": Case(
        always(Sent({"choices": [], "usage": usage_of()}, billed=(300, 1))), UNREADABLE
    ),
    # further answers of their kinds
    "a sentence that one is better": Case(said("Response {} is better."), VOTE),
    "one is better than the other": Case(said("{} is better than {other}"), VOTE),
    "one is better than the other, with log-probs": Case(
        lambda a: answer(
            a,
            f"Response {a.best} is better than {a.other}.",
            _prefixed(a, "Response", " ", tail=(" is better than ", a.other, ".")),
        ),
        ORDINARY,
    ),
    "a preference": Case(said("I prefer **{}**."), VOTE),
    "a label with its reason": Case(said("{} because it is right"), VOTE),
    "an answer in Chinese": Case(said("\u7b54\u6848\uff1a{}\u3002"), VOTE),
    "a sentence in Chinese": Case(said("\u56de\u7b54{}\u6bd4{other}\u66f4\u597d"), VOTE),
    "a full-width bracket": Case(said("\u3010{}\u3011"), VOTE),
    "a denial in Chinese": Case(said("\u7b54\u6848\u4e0d\u662f{other}"), UNREADABLE),
    "both are equal": Case(said("A and B are equal"), UNREADABLE),
    "hardly better": Case(said("{other} is hardly better"), UNREADABLE),
    "a third label that was not asked for": Case(said("C"), UNREADABLE),
    "the heading of a list, cut off": Case(
        said("Response {other}: The first claim is wrong", finish_reason="length"), UNREADABLE
    ),
    "a bold heading, cut off": Case(
        said("**Response {other}**\n\nThe first claim is", finish_reason="length"), UNREADABLE
    ),
    "a list of criteria, cut off": Case(
        said("{other}. Accuracy: fine. Style:", finish_reason="length"), UNREADABLE
    ),
    "a label and what is wrong with it": Case(said("{other}: clearly worse"), UNREADABLE),
    "a heading alone, cut off": Case(said("Response {other}", finish_reason="length"), UNREADABLE),
    "a word before the label, cut off after it": Case(
        said("Answer: {}, as it", finish_reason="length"), VOTE
    ),
    "lists that are all empty": Case(lambda a: answer(a, None, [position(a.best, [])]), UNREADABLE),
    "one-hot at a temperature near 0": Case(one_hot(-140.0), VOTE),
    "a sampled number with two digits": Case(
        lambda a: answer(
            a, None, [{**position(a.best, labels(a)), "logprob": round(logprob(0.784), 2)}]
        ),
        ORDINARY,
    ),
    "blocked by Gemini": Case(
        always(Sent({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}})),
        FailureKind.REFUSED,
        ("SAFETY",),
        calls=1,
    ),
    "stopped for recitation": Case(stopped("RECITATION"), FailureKind.REFUSED),
    "stopped by a filter that names itself": Case(
        stopped("content_filter: PROHIBITED_CONTENT"), FailureKind.REFUSED
    ),
    "stopped where the context ends": Case(stopped("model_context_window_exceeded"), TOO_LONG),
    "a content filter within a 200": Case(
        always(Sent({"error": {"code": "content_filter", "message": "filtered"}})),
        FailureKind.REFUSED,
        calls=1,
    ),
    "inappropriate content": Case(
        always(refusal(400, "Input data may contain inappropriate content.")),
        FailureKind.REFUSED,
        calls=1,
    ),
    "a rate limit of MiniMax, once": Case(
        first(
            lambda _: Sent(
                {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}
            )
        ),
        ORDINARY,
        calls=2,
    ),
    "no balance at MiniMax": Case(
        always(Sent({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}})),
        GONE,
        calls=1,
    ),
    "a limit of requests, of Baidu": Case(
        first(
            lambda _: Sent({"error_code": 18, "error_msg": "Open api qps request limit reached"})
        ),
        ORDINARY,
        calls=2,
    ),
    "a model that is loading, within a 200": Case(
        first(lambda _: Sent({"error": "Loading model"})), ORDINARY, calls=2
    ),
    "too long, within a 200": Case(
        always(Sent({"error": {"message": "The prompt is too long: reduce your prompt"}})),
        TOO_LONG,
        calls=1,
    ),
    "usage limits that are reached": Case(
        always(refusal(400, "You have reached your specified API usage limits.")), GONE, calls=1
    ),
    "an account in arrears": Case(
        always(refusal(400, "Access denied", code="Arrearage")), GONE, calls=1
    ),
    "no balance, in Chinese": Case(always(refusal(429, "\u4f59\u989d\u4e0d\u8db3")), GONE, calls=1),
    "201 with an answer": Case(lambda a: replace(answer(a), status=201), ORDINARY, calls=1),
    "204, then an answer": Case(first(lambda _: Sent(b"", 204)), ORDINARY, calls=2),
    "an entry without a token": Case(
        lambda a: answer(
            a, None, [position(a.best, [*labels(a), {"token": None, "logprob": -9.0}])]
        ),
        ORDINARY,
    ),
    "how sure it is, behind the label": Case(
        lambda a: answer(a, f"{a.best} (85%)", _prefixed(a, tail=(" (", "85", "%)"))), ORDINARY
    ),
    "a content that is an object": Case(
        lambda a: answer(a, {"type": "text", "text": {"value": a.best}}, logprobs=False), VOTE
    ),
    "a byte order mark": Case(
        lambda a: replace(sent := answer(a), body=b"\xef\xbb\xbf" + json.dumps(sent.body).encode()),
        ORDINARY,
    ),
    # more of the same kinds
    "a JSON object in tokens": Case(
        lambda a: answer(
            a, f'{{"label": "{a.best}"}}', _prefixed(a, '{"', "label", '":', ' "', tail=('"}',))
        ),
        ORDINARY,
    ),
    "a box in tokens": Case(
        lambda a: answer(a, rf"\boxed{{{a.best}}}", _prefixed(a, "\\", "boxed", "{", tail=("}",))),
        ORDINARY,
    ),
    "thinking that is switched off": Case(
        lambda a: answer(a, None, _prefixed(a, "<think>", "\n\n", "</think>", "\n\n")), ORDINARY
    ),
    "a vote in tags of another name": Case(said("<winner>{}</winner>"), VOTE),
    "the loser in tags": Case(said("<loser>{other}</loser>"), UNREADABLE),
    "HTTP where HTTPS is spoken": Case(
        always(Sent(b"<html>400 The plain HTTP request was sent to HTTPS port</html>", 400)),
        GONE,
        ("base_url",),
        calls=1,
    ),
    "moved": Case(
        always(Sent(b"", 308, {"location": "https://elsewhere/v1/chat/completions"})),
        GONE,
        ("https://elsewhere/v1", "base_url"),
        calls=1,
    ),
    "another protocol is asked for": Case(always(Sent(b"Upgrade Required", 426)), GONE, calls=1),
    "double brackets": Case(said("[[{}]]"), VOTE),
    "a vote of GLM": Case(said("<|begin_of_box|>{}<|end_of_box|>"), VOTE),
    "thinking of Seed": Case(said("<seed:think>{other}?</seed:think>{}"), VOTE),
    "unfinished thinking of Kimi": Case(said("\u25c1think\u25b7{}"), UNREADABLE, ("thinking",)),
    "a channel with a constraint": Case(
        said('<|channel|>final <|constrain|>json<|message|>{"answer": "{}"}'), VOTE
    ),
    "one is worse, so the other": Case(said("{other} is worse, so {}"), UNREADABLE),
    "a label, and that it is worse": Case(
        said("{other}.\n\nResponse {other} is worse because it errs."), UNREADABLE
    ),
    "a label, and that it is not the better one": Case(
        said("{other}\n\nIt is clearly not the better one."), UNREADABLE
    ),
    "a label with less than half the confidence": Case(
        said('{"answer": "{other}", "confidence": 0.2}'), UNREADABLE
    ),
    "a label with its confidence": Case(said('{"answer": "{}", "confidence": 0.9}'), VOTE),
    "a call of a tool": Case(
        said("", finish_reason="tool_calls", tool_calls=[{"function": {"name": "A"}}]),
        UNREADABLE,
        ("tool_calls",),
    ),
    "letters of full width": Case(full_width, ORDINARY),
    "tokens by their bytes": Case(by_bytes, ORDINARY),
    "names that are token ids": Case(
        lambda a: answer(a, None, [position("token_id:32", labels(a, "token_id:"))]), UNREADABLE
    ),
    "a list by token id": Case(by_id, ORDINARY),
    "a list of the sampled token alone": Case(sampled_alone, VOTE),
    "one-hot with null": Case(one_hot(None), VOTE),
    "decimal logarithms": Case(
        lambda a: answer(
            a,
            None,
            [position(a.best, [{**t, "logprob": t["logprob"] / math.log(10)} for t in labels(a)])],
        ),
        UNREADABLE,
    ),
    "probabilities for logarithms": Case(
        lambda a: answer(
            a,
            None,
            [position(a.best, [{**t, "logprob": math.exp(t["logprob"])} for t in labels(a)])],
        ),
        UNREADABLE,
    ),
    "a list of the next position": Case(
        lambda a: answer(
            a,
            None,
            [
                {
                    "token": a.best,
                    "logprob": logprob(0.784),
                    "top_logprobs": [
                        {"token": "<|im_end|>", "logprob": -0.001},
                        {"token": a.other, "logprob": -7.5},
                    ],
                }
            ],
        ),
        UNREADABLE,
    ),
    "a filter of Azure that leaves the message out": Case(
        always(Sent({"choices": [{"index": 0, "finish_reason": "content_filter"}]})),
        FailureKind.REFUSED,
        calls=1,
    ),
    "stopped for toxicity": Case(stopped("ERROR_TOXIC"), FailureKind.REFUSED, calls=1),
    **{
        f"stopped by {reason}, once": Case(stopped(reason, 1), ORDINARY, calls=2)
        for reason in ("ERROR", "network_error", "cancelled", "time_limit", "engine_overloaded")
    },
    "too many at once at Zhipu": Case(
        first(lambda _: Sent({"code": 1302, "msg": "\u5e76\u53d1\u6570\u8fc7\u9ad8"})),
        ORDINARY,
        calls=2,
    ),
    "a rate limit of Zhipu": Case(
        always(
            Sent({"error": {"code": "1302", "message": "\u8fbe\u5230\u901f\u7387\u9650\u5236"}})
        ),
        FailureKind.RATE_LIMITED,
        calls=5,
    ),
    "sensitive for Zhipu": Case(
        always(Sent({"error": {"code": "1301", "message": "\u654f\u611f\u5185\u5bb9"}})),
        FailureKind.REFUSED,
        calls=1,
    ),
    "a model that Zhipu does not have": Case(
        always(Sent({"error": {"code": "1211", "message": "\u6a21\u578b\u4e0d\u5b58\u5728"}})),
        GONE,
        calls=1,
    ),
    "a quota that is used up, in Chinese": Case(
        always(Sent({"error": {"message": "\u8be5\u4ee4\u724c\u989d\u5ea6\u5df2\u7528\u5c3d"}})),
        GONE,
        calls=1,
    ),
    "sensitive for MiniMax": Case(
        always(
            Sent(
                {
                    "choices": [{"finish_reason": "stop", "message": {"content": ""}}],
                    "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"},
                }
            )
        ),
        FailureKind.REFUSED,
        calls=1,
    ),
    "no login at MiniMax": Case(
        always(Sent({"base_resp": {"status_code": 1004, "status_msg": "login fail"}})),
        GONE,
        calls=1,
    ),
    "no capacity at Cloudflare": Case(
        first(
            lambda _: Sent(
                {"success": False, "errors": [{"code": 3040, "message": "Capacity exceeded"}]}
            )
        ),
        ORDINARY,
        calls=2,
    ),
    "no worker at Nvidia, within a 200": Case(
        first(
            lambda _: Sent(
                {
                    "error": {
                        "message": "ResourceExhausted: Worker local total request limit reached (1)",
                        "code": 502,
                    }
                }
            )
        ),
        ORDINARY,
        calls=2,
    ),
    "no worker at Nvidia": Case(
        first(lambda _: refusal(429, "Worker local total request limit reached (1)")),
        ORDINARY,
        calls=2,
    ),
    "a probability beside a list of logarithms": Case(
        lambda a: answer(a, None, [{"token": a.best, "logprob": 0.784, "top_logprobs": labels(a)}]),
        ORDINARY,
    ),
    "a probability alone, as Together writes it": Case(
        lambda a: answer(
            a, logprobs={"content": None, "tokens": [f" {a.best}"], "token_logprobs": [0.784]}
        ),
        VOTE,
    ),
    "throttled with 400": Case(
        first(lambda _: Sent({"__type": "ThrottlingException", "message": "Rate exceeded"}, 400)),
        ORDINARY,
        calls=2,
    ),
    "throttled with 403": Case(
        first(lambda _: refusal(403, "Rate Limit Exceeded")), ORDINARY, calls=2
    ),
    "a budget of LiteLLM": Case(
        always(refusal(400, "Budget has been exceeded! Max budget: 10.0")), GONE, calls=1
    ),
    "a quota of nothing": Case(
        always(refusal(429, "Quota exceeded for metric: m, limit: 0. Please retry in 0.01s.")),
        GONE,
        calls=1,
    ),
    "a quota of Gemini, its wait at the end of many words": Case(
        first(lambda _: refusal(429, quota_of_gemini(15, "0.01s"))), ORDINARY, calls=2
    ),
    "a quota of nothing amid many words": Case(
        always(refusal(429, quota_of_gemini(0, "0.01s"))), GONE, calls=1
    ),
    "a page that says to wait at its end": Case(
        always(Sent(b"<html>" + b"-" * 2000 + b"Retry in 2 minutes</html>", 429)),
        FailureKind.RATE_LIMITED,
        ("wait 120 s",),
        calls=1,
    ),
    "a free tier that is used up": Case(
        always(refusal(429, "The free tier of the model has been exhausted.")), GONE, calls=1
    ),
    "a limit of a day that frees up soon": Case(
        first(
            lambda _: refusal(
                429,
                "tokens per day (TPD): Limit 9000, Used 8999, Requested 5. Please try again in 15ms.",
            )
        ),
        ORDINARY,
        calls=2,
    ),
    "a limit of a day that frees up late": Case(
        always(
            refusal(
                429,
                "tokens per day (TPD): Limit 9000, Used 8999, Requested 5. Please try again in 15m.",
            )
        ),
        GONE,
        calls=1,
    ),
    "against the guidelines": Case(
        always(refusal(403, "Content violates usage guidelines.")), FailureKind.REFUSED, calls=1
    ),
    **{
        f"{status}, once": Case(refused_once(status), ORDINARY, calls=2)
        for status in (420, 423, 424, 449, 503, 520, 522, 524)
    },
}


def check(case: Case, score: Score) -> None:
    """Check a score of the pair whose first response is preferred."""
    if isinstance(case.right, FailureKind):
        assert score.failure is not None, score
        assert score.failure.kind is case.right, score.failure
        assert all(word in score.failure.detail for word in case.words), score.failure
        return
    assert score.failure is None, score.failure
    assert ("no_logprobs" in score.flags) == (case.right == VOTE)
    assert score.p_a == pytest.approx(1.0 if case.right == VOTE else case.right, abs=1e-3)
