"""Prompts as token ids: judged text never becomes a control token, and no text is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.hosted.tiny_models import Kind
from judges.errors import JudgeConfigurationInvalid
from judges.prompting.label_tokens import LabelProbabilities, find_label_ids, read_label_logprobs
from judges.prompting.tokens import PlainText, PromptTokens
from judges.types import JudgeFailure
from tests.judges.vllm import oracle
from tests.judges.vllm.conftest import KINDS

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

CONTROL = ["<|im_start|>", "<|im_end|>", "<|pad|>", "<think>", "</think>", "<s>", "</s>", "<unk>"]
text = st.lists(
    st.one_of(st.sampled_from(CONTROL), st.text(alphabet="ab <|>/\nñ漢", max_size=6)), max_size=12
).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text)
def test_text_never_becomes_a_control_token(
    kind: Kind, folders: dict[str, Path], written: str
) -> None:
    tokenizer, _ = oracle.loaded(folders[kind])
    ids = PlainText(tokenizer).encode(written)
    control = {
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if str(token.content) in CONTROL and token_id != tokenizer.unk_token_id
    }
    assert control.isdisjoint(ids)
    if kind == "qwen2":  # the other one writes a space where a text begins
        assert tokenizer.decode(ids) == written


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_what_the_chat_template_makes_of_it(
    kind: Kind, folders: dict[str, Path]
) -> None:
    tokenizer, _ = oracle.loaded(folders[kind])
    tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
    laid_out = tokenizer.decode((*tokens.shared("Judge them."), *tokens.query("This pair.")))
    # this template knows no system message: both parts are the user's
    messages = (
        [{"role": "system", "content": "Judge them."}, {"role": "user", "content": "This pair."}]
        if kind == "qwen2"
        else [{"role": "user", "content": "Judge them.\n\nThis pair."}]
    )
    whole = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert laid_out.replace(" ", "") == whole.replace(" ", "")


def test_without_a_chat_template_the_text_is_completed(folders: dict[str, Path]) -> None:
    tokenizer, _ = oracle.loaded(folders["llama"])
    tokens = PromptTokens(tokenizer, is_chat=False)
    assert tokens.shared("Judge.")[0] == tokenizer.bos_token_id
    assert tokens.query("This pair.")[-1] == tokenizer.encode("pair.")[-1]


def test_a_tokenizer_without_a_chat_template_is_refused(folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folders["qwen2"])
    tokenizer.chat_template = None
    with pytest.raises(JudgeConfigurationInvalid, match="no chat template"):
        PromptTokens(tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(JudgeConfigurationInvalid, match="loses or repeats"):
        PromptTokens(tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_every_spelling_of_a_label_is_found(kind: Kind, folders: dict[str, Path]) -> None:
    tokenizer, _ = oracle.loaded(folders[kind])
    found = find_label_ids(tokenizer, ("A", "B"))
    for label, ids in zip("AB", found.ids, strict=True):
        assert {tokenizer.decode([token_id]).strip().upper() for token_id in ids} == {label}
        assert tokenizer.encode(f" {label}", add_special_tokens=False)[-1] in ids
        assert tokenizer.encode(label, add_special_tokens=False)[-1] in ids


def test_log_probabilities_are_read_exactly(folders: dict[str, Path]) -> None:
    tokenizer, _ = oracle.loaded(folders["qwen2"])
    found = find_label_ids(tokenizer, ("A", "B"))
    even = dict.fromkeys(found.all, -3.0)
    said = read_label_logprobs(even, found)
    assert isinstance(said, LabelProbabilities)
    assert said.shares == (0.5, 0.5)
    assert said.outside_mass == pytest.approx(1 - len(found.all) * 0.049787068)
    for wrong in ({}, {**even, found.all[0]: float("nan")}, {**even, found.all[0]: 1.0}):
        assert isinstance(read_label_logprobs(wrong, found), JudgeFailure)
    nothing = dict.fromkeys(found.all, float("-inf"))
    assert isinstance(read_label_logprobs(nothing, found), JudgeFailure)
