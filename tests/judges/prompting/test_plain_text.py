"""A known tokenizer says itself what its control tokens are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from judges.errors import JudgeConfigurationInvalid
from judges.prompting.neutralising import CONTROL_TOKEN
from judges.prompting.tokens import ConversationTokens, PlainText, PromptTokens, fit
from judges.types import Pair
from tests.judges.pairs import pair_of
from tests.judges.spelling import Added, Spelling, chatting

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


def test_a_normalised_text_that_spells_an_added_token_is_taken_apart() -> None:
    class Folding(Spelling):
        """Normalises what it reads, as SentencePiece does."""

        def encode(self, text: str, **options: Any) -> list[int]:
            return super().encode(text.lower(), **options)

    ids = PlainText(Folding(Added("~~turn"))).encode("x~~TURN")
    assert min(ids) >= 0
    assert "".join(map(chr, ids)) == "x~~turn"


def test_conversations_are_laid_out_as_the_chat_template_does() -> None:
    tokenizer = chatting()
    layout = ConversationTokens(tokenizer)
    messages = [("user", "One <|end|>?"), ("assistant", "It is."), ("user", "Two?")]
    for said in (messages[:2], messages, messages[:2]):
        ids = layout.of(said)
        shown = "".join(f"<|{role}|>{text}<|end|>" for role, text in said)
        assert tokenizer.decode(ids) == shown
        # the text that spells a control token holds none
        assert sum(one < 0 for one in ids) == 2 * len(said)
    assert ConversationTokens(Spelling(), "{{ messages[0].content }}").of([("user", "x")]) == (120,)


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (Spelling(), "chat_template: needed, since the model's tokenizer has none"),
        (Spelling(chat_template="{{ messages[0].content }}"), "it loses or repeats a message"),
        (Spelling(chat_template="{{ 1 // 0 }}"), "chat_template: .*zero"),
    ],
)
def test_a_template_that_lays_out_no_conversation_is_named(tokenizer: Spelling, said: str) -> None:
    with pytest.raises(JudgeConfigurationInvalid, match=said):
        ConversationTokens(tokenizer).of([("user", "x"), ("assistant", "y")])


def test_a_pair_is_cut_as_little_as_needed() -> None:
    pair = pair_of(a="x" * 5_000, b="y" * 300)

    def has_room(most: int) -> Callable[[Pair], bool]:
        return lambda cut: len(cut.responses_a[0]) <= most

    assert fit(pair, has_room(5_000)) == (pair, ())
    found = fit(pair, has_room(1_000))
    assert found is not None
    assert (len(found[0].responses_a[0]) > 960, found[1]) == (True, ("truncated:a",))
    both = fit(pair, has_room(200))
    assert both is not None
    assert both[1] == ("truncated:a", "truncated:b")
    assert fit(pair, has_room(50)) is None
