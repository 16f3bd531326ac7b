from __future__ import annotations

import re

import pytest
from hypothesis import given

from judges.prompting.neutralising import (
    CONTROL_TOKEN,
    IN_ANGLES,
    IN_BRACKETS,
    LONE_SURROGATE,
    NUL,
    neutralise,
)
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


# One line for each family: spellings from its published tokenizer or chat template.
FAMILIES = {
    "Llama 2": "<s> </s> [INST] [/INST] <<SYS>> <</SYS>>",
    "Llama 3 and 4": "<|begin_of_text|> <|start_header_id|> <|eot_id|> <|header_start|> <|eot|>"
    " <|python_tag|> <|reserved_special_token_7|>",
    "Mistral": "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [MIDDLE] [PREFIX] [SUFFIX] [IMG] [IMG_END]"
    " [IMG_BREAK] [TOOL_CALLS] [ARGS] [CALL_ID] [THINK] [/THINK] [MODEL_SETTINGS] [AUDIO]"
    " [BEGIN_AUDIO] [TRANSCRIBE] [TOOL_CONTENT] [control_8] <SPECIAL_20> [STREAMING_PAD]",
    "Gemma": "<bos> <start_of_turn> <end_of_turn> <start_of_image> <unused9> <mask> [@BOS@]"
    " <2mass> <|turn> <turn|> <|channel> <channel|> <|tool_call> <tool_response|>",
    "Qwen": "<|im_start|> <|endoftext|> <|vision_start|> <think> </think> <tool_call> <extra_0>"
    " <tts_text_bos> <tool_response> <tools> <function=f> <|fim_prefix|> <|extra_4|>",
    "DeepSeek": "<\uff5cbegin▁of▁sentence\uff5c> <\uff5cUser\uff5c> <\uff5ctool▁calls▁begin\uff5c>"
    " <\uff5cDSML\uff5cfunction_calls> </\uff5cDSML\uff5cinvoke> <|EOT|>",
    "Phi": "<|user|> <|im_sep|> <|end|> <|/tool_call|>",
    "Command-R": "<|START_OF_TURN_TOKEN|> <BOS_TOKEN> <EOP_TOKEN> <PAD> <MASK_TOKEN>",
    "Granite, StarCoder": "<|start_of_role|> <fim_prefix> <gh_stars> <issue_closed> <reponame>"
    " <empty_output> <think_on>",
    "GLM": "[gMASK] [sMASK] [MASK] <sop> <eop> <|observation|> <arg_key> </arg_value>",
    "Kimi": "<|im_middle|> <|end_of_msg|> [BOS] [EOS] [EOT] [PAD] [UNK] [start_header_id]"
    " [end_header_id] <osagent_mode> [extra_id_3]",
    "MiniMax": "]~b] ]~!b[ [e~[ ]!p~[ ]!d~[ ]<]image[>[ ]<]start\u00a0of\u00a0image[>[ <mm:think>"
    " <minimax:tool_call> <code_interpreter> <end_of_sentence>",
    "Gemini": "<ctrl94> <ctrl99>",
    "Seed": "<seed:bos> <seed:eos> <seed:think> </seed:think> <seed:cot_budget_reflect>"
    " <seed:tool_call> <[begin▁of▁sentence]>",
    "Ling": "<role> </role> <|role_end|>",
    "InternLM": "<eoh> <eoa> [UNUSED_TOKEN_146] <TOKENS_UNUSED_1> <IMG_CONTEXT>",
    "Yi": "<|im_start|> <fim_middle>",
    "Falcon": ">>QUESTION<< >>ABSTRACT<< >>UNUSED_12<<",
    "gpt-oss": "<|start|> <|channel|> <|message|> <|constrain|> <|return|> <|call|>",
    "Nemotron": "<extra_id_0> <SPECIAL_12> <TOOLCALL> </TOOLCALL> <AVAILABLE_TOOLS>",
    "EXAONE": "[|system|] [|endofturn|] [BOS]",
    "Hunyuan": "<|startoftext|> <|extra_0|> <\uff5chy_User\uff5c> <answer>",
    "LongCat": "<longcat_user> <longcat_s> </longcat_think> <longcat_tool_call>",
    "ERNIE": "<|IMAGE_PLACEHOLDER|> <mask:0> <cls> <sep> <response>",
    "Pangu, Baichuan, MiniCPM": "[unused9] <reserved_106> <B_SYS> <用户> <AI>",
    "OLMo, Apertus": "|||EMAIL_ADDRESS||| <|endofprompt|> <email-pii>",
    "T5, BERT, Chameleon": "<extra_id_99> [CLS] [SEP] <racm3:break> <reserved08706>",
    "LLaVA, Idefics": "<image> <end_of_utterance> <fake_token_around_image>",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_control_token_of_a_known_family_passes(family: str) -> None:
    for token in FAMILIES[family].split(" "):
        said = neutralise(f"x{token}y")
        assert said.flags == {CONTROL_TOKEN}, token
        assert token not in said.text
        assert said.text.replace(" ", "") == f"x{token}y", token
        assert neutralise(said.text) == (said.text, frozenset())


def test_every_listed_name_is_broken() -> None:
    for families, shape in ((IN_ANGLES, "<{}>"), (IN_BRACKETS, "[{}]")):
        for name in " ".join(families.values()).split():
            assert neutralise(shape.format(name)).flags == {CONTROL_TOKEN}, name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<|im_\u200bend|>", "< |im_\u200bend|>"),
        ("＜|im_end|＞", "＜ |im_end|＞"),
        ("［INST］", "［ INST］"),
        ("<|\u0456m_end|>", "< |\u0456m_end|>"),
        ("\u200bé<s>é<\u200bs>", "\u200bé< s>é< \u200bs>"),
        ("a &lt;|im_end|&gt;", "a &lt; |im_end|&gt;"),
        ("a\u00ad<|im_\x01end|>", "a\u00ad< |im_\x01end|>"),
        (r"\u003c|im_end|\u003e", r"\u003c |im_end|\u003e"),
    ],
)
def test_a_disguised_token_is_broken_where_it_stands(text: str, shown: str) -> None:
    assert neutralise(text) == (shown, frozenset({CONTROL_TOKEN}))
    assert neutralise(shown) == (shown, frozenset())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a < b | c > d",
        "x[i] <= y",
        "<p>Hello</p>",
        "[[A]]",
        "\u202eabc",
        "df[~m]",
        "x[~a][b]",
        "vector<my_type>",
        "List<ToolCall>",
        "[PLACE_HOLDER]",
        "<YOUR_NAME>",
        "a <|> b",
        "f <$> x",
        "[x](y)",
        "cat <<EOF",
        ">>> 1 << 2",
        "a || b ||| c",
        "<div><h1>&lt;p&gt;</h1>",
        "100%",
        "…½é",
        "Привет, мир",
        "《用户》",
        "👩‍👩‍👧 ❤️",
    ],
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
