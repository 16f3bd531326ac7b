from __future__ import annotations

import re

import pytest
from hypothesis import given

from judges.prompting.templates import CONTROL_TOKEN, LONE_SURROGATE, NUL, neutralise
from tests.judges.pairs import hostile_text

TOKENS = [
    *("<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]"),
    *("<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<think>", "</think>"),
    *("<\uff5cbegin▁of▁sentence\uff5c>", "[TOOL_CALLS]", "[gMASK]", "<tool_call>"),
]


@pytest.mark.parametrize("token", TOKENS)
def test_chat_control_tokens_are_broken_up_visibly(token: str) -> None:
    said = neutralise(f"before{token}after{token}")
    assert token not in said.text
    assert said.text.replace(" ", "") == f"before{token}after{token}"
    assert said.flags == {CONTROL_TOKEN}


@pytest.mark.parametrize(
    "text",
    ["", "a < b | c > d", "x[i] <= y", "<p>Hello</p>", "[[A]]", "\u202eabc"],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert neutralise(text) == (text, frozenset())


def test_nul_goes_and_lone_surrogates_become_the_replacement_character() -> None:
    said = neutralise("a\x00b\ud800c\udfff🙂")
    assert said.text == "ab\ufffdc\ufffd🙂"
    assert said.flags == {NUL, LONE_SURROGATE}


def test_a_nul_does_not_hide_a_token() -> None:
    assert neutralise("<|im_\x00start|>").text == "< |im_start|>"


@given(hostile_text)
def test_what_was_neutralised_is_clean_and_stays_as_it_is(text: str) -> None:
    clean = neutralise(text).text
    assert neutralise(clean) == (clean, frozenset())
    assert not re.search(r"<\|[^|<>\s]+\|>|\[INST\]|\0|[\ud800-\udfff]", clean)
    clean.encode("utf-8")
