"""A known tokenizer says itself what its control tokens are."""

from __future__ import annotations

import pytest

from judges.prompting.neutralising import CONTROL_TOKEN
from judges.prompting.tokens import PlainText, PromptTokens
from tests.judges.pairs import pair_of
from tests.judges.spelling import Added, Spelling

ODD = Spelling(Added("~~turn~~"), Added("~~turn"), Added("<table>", special=False), Added("\n\n"))


@pytest.mark.parametrize("text", ["~~turn~~", "a~~~turn~~b", "~~turn~~turn~~", "<table>~~turn"])
def test_no_text_becomes_an_added_token(text: str) -> None:
    ids = PlainText(ODD).encode(text)
    assert min(ids) >= 0
    assert ODD.decode(ids) == text


def test_a_pair_that_spells_a_special_token_is_flagged() -> None:
    tokens = PromptTokens(ODD, is_chat=False)
    for pair in (pair_of(a="x~~turn"), pair_of(b="~~turn~~"), pair_of(criterion="~~turn")):
        assert tokens.flags_of(pair) == tokens.flags_of(pair.swapped()) == (CONTROL_TOKEN,)
    assert tokens.flags_of(pair_of(a="~~tur", b="<table>\n\n")) == ()


def test_thousands_of_added_tokens_cost_one_look_up_for_each_length() -> None:
    plain = PlainText(Spelling(*(Added(f"<unused{n}>") for n in range(5_000))))
    looked_up = []

    class Counted(frozenset[str]):
        def __contains__(self, item: object) -> bool:
            looked_up.append(item)
            return super().__contains__(item)

    plain._spellings = Counted(plain._spellings)
    assert not plain.holds_special("<" * 1_000)
    assert len(looked_up) == 1_000 * len({len(f"<unused{n}>") for n in range(5_000)})


def test_a_tokenizer_without_added_tokens_changes_nothing() -> None:
    assert PlainText(Spelling()).encode("<s>") == [ord(c) for c in "<s>"]
