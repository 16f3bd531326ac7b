"""Two spellings of one prompt have one hash; odd text has one too."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.types import normalise_prompt, prompt_hash
from tests.conftest import growth

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("", ""),
        ("  What's  THIS?\n", "what s this"),
        ("\ufb01ne \uff11\uff12", "fine 12"),
        ("Straße_1 – нет!", "straße_1 нет"),
        ("a\x00b", "a b"),
        ("...!?", ""),
    ],
)
def test_normalised_form(text: str, normalised: str) -> None:
    assert normalise_prompt(text) == normalised


def test_hash_is_sha256_of_the_normalised_prompt_with_its_input() -> None:
    expected = hashlib.sha256(b"translate this bonjour").hexdigest()
    assert prompt_hash("Translate this:", "Bonjour!") == expected


def test_an_input_inside_the_prompt_is_the_same_prompt() -> None:
    assert prompt_hash("Shorten.", "A long text") == prompt_hash("shorten\n\na LONG text.\n")


def test_composed_and_decomposed_letters_are_the_same_prompt() -> None:
    assert prompt_hash(unicodedata.normalize("NFD", "Münchhausen")) == prompt_hash("münchhausen")


def test_other_words_are_another_prompt() -> None:
    assert prompt_hash("one two") != prompt_hash("onetwo")


def test_lone_surrogate_is_hashed() -> None:
    assert prompt_hash("\ud800") != prompt_hash("\udfff a")


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_has_a_hash_of_64_digits(prompt: str, extra: str) -> None:
    digest = prompt_hash(prompt, extra)
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_the_guard_against_long_runs_leaves_ordinary_text_alone(text: str) -> None:
    lowered = unicodedata.normalize("NFKC", text).lower()
    words = "".join(c if c == "_" or c.isalnum() else " " for c in lowered).split()
    assert normalise_prompt(text) == " ".join(words)


def test_many_combining_marks_take_linear_time() -> None:
    assert growth(lambda n: prompt_hash("a" + "\u0315\u0300" * n), 20_000) < 8
