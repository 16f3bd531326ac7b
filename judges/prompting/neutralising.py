"""Make judged text harmless, and recognise what it imitates.

A server tokenises a prompt as one text, so a control token of its model in a judged text would end
the message and begin another. Which model answers is not always known: whatever looks like a
control token of any known family is broken up by one space. Look-alikes are found in the text "as
seen": without invisible characters, with look-alike letters and written-out escapes replaced.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import unescape
from itertools import pairwise
from typing import Final, NamedTuple

CONTROL_TOKEN: Final = "injection:control_token"
NUL: Final = "text:nul"
LONE_SURROGATE: Final = "text:lone_surrogate"

# Spellings that no shape below covers, by family. Source: the added tokens and chat templates in the
# published `tokenizer_config.json` and `tokenizer.json` of each family's models; for Mistral the
# token lists of `mistral-common`. A leading "/" is optional for all of them.
IN_ANGLES: Final[Mapping[str, str]] = {
    "several": "s bos eos eot eod eom pad unk sep cls mask think thinking tool_call tool_calls"
    " tool_response tool_responses tool_result tool_results function_call function_calls tools"
    " image img video audio",
    "Llama": "start_header_id end_header_id eot_id PRE SUF MID EOT",
    "Gemma": "image_soft_token audio_soft_token",
    "Command-R": "PAD UNK CLS SEP MASK_TOKEN BOS_TOKEN EOS_TOKEN EOP_TOKEN",
    "GLM": "sop eop arg_key arg_value",
    "Granite, StarCoder, Yi": "filename reponame repo_name file_sep gh_stars issue_start"
    " issue_comment issue_closed jupyter_start jupyter_text jupyter_code jupyter_output"
    " jupyter_script empty_output commit_before commit_msg commit_after intermediate_to_code"
    " code_to_intermediate think_on think_off pr pr_status pr_is_merged pr_base pr_file"
    " pr_base_code pr_diff pr_diff_hunk pr_comment pr_event_id pr_review pr_review_state"
    " pr_review_comment",
    "Ling": "role",
    "Kimi": "osagent_mode",
    "MiniMax": "code_interpreter",
    "InternLM, InternVL": "eoh eoa eosys eoc eor IMG_CONTEXT ImageHere ref box quad SMILES protein"
    " dna rna",
    "Nemotron": "TOOLCALL AVAILABLE_TOOLS TOOL_RESPONSE",
    "Apertus, ERNIE, Hunyuan": "answer response iban-pii email-pii ip-pii",
    "Baichuan": "B_SYS B_USYS C_Q C_A B_FUNC B_CODE H_SYS",
    "MiniCPM": "用户 AI unk_0 image_id slice point",
    "Idefics": "fake_token_around_image global-img",
    "Hermes": "scratch_pad tool_definitions",
}
IN_BRACKETS: Final[Mapping[str, str]] = {
    "Mistral": "INST AVAILABLE_TOOLS TOOL_RESULTS TOOL_CALLS TOOL_CONTENT CALL_ID ARGS IMG IMG_BREAK"
    " IMG_END PREFIX MIDDLE SUFFIX SYSTEM_PROMPT MODEL_SETTINGS THINK AUDIO BEGIN_AUDIO TRANSCRIBE"
    " OUTPUT_AUDIO STREAMING_PAD STREAMING_WORD NEXT_AUDIO_TEXT REPEAT_AUDIO_TEXT",
    "BERT, GLM": "CLS SEP MASK PAD UNK gMASK sMASK eMASK",
    "Kimi, EXAONE": "BOS EOS EOT start_header_id end_header_id",
    "Sarvam, Gemma": "@BOS@ @EOS@ multimodal toxicity",
}
_RESERVED: Final = (
    "bos|eos|eod|eot|pad|unk|sep|cls|think|thinking|tool_calls?|tool_responses?|function_calls?"
)


def _names(families: Mapping[str, str]) -> str:
    words = {word for names in families.values() for word in names.split()}
    return "|".join(re.escape(word) for word in sorted(words))


# Each pattern takes the first character only: one space after it breaks the token, and the text stays
# legible. Every look ahead is bounded, so the time is linear in the text.
_CONTROL_TOKENS: Final = re.compile(
    rf"""
    <(?=
        /?\|[^<>\s]{{1,64}}>                              # <|im_start|>, <|turn>, <|User|>
      | [^<>|\s]{{1,64}}\|>                               # <turn|>
      | \[[^<>\[\]\s]{{1,64}}\]>                          # <[end_of_sentence]>
      | </?SYS>>
      | /?(?:{_names(IN_ANGLES)})>
      | /?\w{{1,24}}[:_](?:{_RESERVED})>                  # <minimax:tool_call>, <tts_text_bos>
      | /?(?:seed|mm|mask|racm3):\w{{1,32}}>              # <seed:bos>
      | /?(?:start|begin|beginning|end)_of_\w{{1,32}}>
      | /?(?:fim|longcat)_\w{{1,32}}>
      | (?:extra|extra_id|unused|reserved|reserved_special_token|SPECIAL|TOKENS_UNUSED
          |UNUSED_TOKEN|special_token|placeholder|control|ctrl|mask|loc)[_:]?\d{{1,6}}>
      | \d{{1,2}}mass>
      | (?:function|parameter)=[^<>\s]{{1,64}}>           # calls of tools
    )
    | \[(?=
        /?(?:{_names(IN_BRACKETS)})\]
      | \|[^|\[\]\s]{{1,64}}\|\]                          # [|assistant|]
      | (?:extra_id_|unused|UNUSED_TOKEN_|control_)\d{{1,6}}\]
      | [!a-z]{{0,3}}~[!a-z]{{0,3}}\[                     # MiniMax: [e~[
    )
    | \](?=
        [!a-z]{{0,3}}~[!a-z]{{0,3}}[\[\]]                 # MiniMax: ]~b] and ]~!b[
      | <\][^\[\]<>\n]{{1,40}}\[>\[                       # MiniMax: ]<]image[>[
    )
    | >(?=>[A-Z_\d]{{1,32}}<<)                            # Falcon: >>QUESTION<<
    | \|(?=\|\|[A-Z_]{{1,32}}\|\|\|)                      # OLMo: |||EMAIL_ADDRESS|||
    """,
    re.VERBOSE,
)


class Neutralised(NamedTuple):
    """A sanitised text and the flags of its changes."""

    text: str
    flags: frozenset[str]


def neutralise(text: str) -> Neutralised:
    """Remove NULs, replace lone surrogates by U+FFFD and break up control tokens."""
    flags = set()
    if _SURROGATES.search(text):
        text = _SURROGATES.sub("\ufffd", text)
        flags.add(LONE_SURROGATE)
    if "\0" in text:  # before the control tokens, because a NUL could hide one
        text = text.replace("\0", "")
        flags.add(NUL)
    seen = as_seen(text)
    found = [match.start() for match in _CONTROL_TOKENS.finditer(seen)]
    if found:
        text = _spaced(text, found, _ends(text, seen))
        flags.add(CONTROL_TOKEN)
    return Neutralised(text, frozenset(flags))


def as_seen(text: str) -> str:
    """Return the text as a reader sees it: only for comparisons, never shown to a judge."""
    return _WRITTEN.sub(_read, _folded(text))


_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_INVISIBLE: Final = "\u200b"
# What stands for another character, or for none.
_WRITTEN: Final = re.compile(
    rf"[\0-\x08\x0b\x0c\x0e-\x1f\x7f{_INVISIBLE}]"
    r"|&(?:amp;){0,3}(?:#\d{2,7}|#[xX][0-9a-fA-F]{2,6}"
    r"|lt|gt|lsqb|lbrack|rsqb|rbrack|vert|verbar|sol|lowbar)(?![a-zA-Z0-9]);?"
    r"|(?:%|\\x|\\u00|\\u\{)(?:3[cCeE]|5[bBdD]|7[cC]|2[fF])\}?"
)
_FROM: Final = (
    "аесорухіѕјһԁԛԝѵкмтАВЕКМНОРСТХУІЅЈ"
    "αονρικτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
    "օոսıɑɡᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ"
    "‹›〈〉⟨⟩❮❯❬❭˂˃ᐸᐳ∣ǀ❘⁄∕∖"
)
_TO: Final = (
    "aecopyxisjhdqwvkmtABEKMHOPCTXYISJ"
    "aovpiktuABEZHIKMNOPTYX"
    "onuiagabcdefghijklmnoprstuvwyz"
    "<><><><><><><>|||//\\"
)


class _Folding(dict[int, str]):
    """Replace each character by the ASCII character that it looks like; remember each answer."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


def _fold(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) in ("Cf", "Mn", "Me", "Cc") or character in _FILLERS:
        return _INVISIBLE
    simple = unicodedata.normalize("NFKD", character)
    bare = "".join(c for c in simple if unicodedata.category(c) != "Mn")
    return bare if len(bare) == 1 and bare.isprintable() and bare.isascii() else character


_FILLERS: Final = "\u115f\u1160\u3164\uffa0"
_FOLDING: Final = _Folding({ord(a): b for a, b in zip(_FROM, _TO, strict=True)})


def _folded(text: str) -> str:
    """Replace look-alikes one for one, so that positions stay."""
    return text if text.isascii() else text.translate(_FOLDING)


def _read(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] == "&":
        character = unescape(re.sub("amp;", "", found).rstrip(";") + ";")
        return _folded(character).strip(_INVISIBLE) if len(character) == 1 else found
    code = re.search(r"[0-9a-fA-F]{2}(?=\}?$)", found)
    return chr(int(code.group(), 16)) if code and len(found) > 1 else ""


def _ends(text: str, seen: str) -> Sequence[int]:
    """Return where each character of `seen` ends in the text."""
    if len(text) == len(seen):
        return range(1, len(text) + 1)
    ends: list[int] = []
    start = 0
    for match in _WRITTEN.finditer(_folded(text)):
        ends.extend(range(start + 1, match.start() + 1))
        ends.extend([match.end()] * len(_read(match)))
        start = match.end()
    ends.extend(range(start + 1, len(text) + 1))
    return ends


def _spaced(text: str, found: Sequence[int], ends: Sequence[int]) -> str:
    cuts = [0, *(ends[position] for position in found), len(text)]
    return " ".join(text[cut:end] for cut, end in pairwise(cuts))
