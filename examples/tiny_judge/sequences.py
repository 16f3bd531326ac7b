"""The tiny judge's tokenizer, and training sequences laid out exactly as the service lays out prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from examples.tiny_judge.task import TASTE_LOG_ODDS, TOPICS, DrawnPair, draw_pair, manner
from judges.prompting.examples import Example
from judges.prompting.templates import PromptTemplate, load_template
from judges.prompting.tokens import PromptTokens

Integers: TypeAlias = NDArray[np.int64]

TEMPLATE: Final = Path(__file__).with_name("prompt.toml")
CONTEXT: Final = 2048
PAIRS: Final = 5
_VOCABULARY: Final = 768
_PAD: Final = "<|pad|>"
# a tag, a word with its space, a digit or a sign is a piece, so that it can become one token
_PIECES: Final = r"</?[A-Za-z]+(?:_[A-Za-z0-9]+)?>\n?| ?[A-Za-z]+| ?[^\sA-Za-z]|\s"


def template() -> PromptTemplate:
    """Return the template that the model is trained on."""
    return load_template(str(TEMPLATE))


def make_tokenizer(rng: np.random.Generator, texts: int = 2000) -> Any:
    """Return a byte-level BPE trained on prompts, as a Hugging Face tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(rng, texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_PAD, model_max_length=CONTEXT
    )


def _texts(rng: np.random.Generator, n: int) -> Iterator[str]:
    shown = template()
    for index in range(n):
        drawn = draw_sequence(rng, PAIRS, taste=index % 3 - 1)
        yield f"{shown.shared(drawn.examples)} A B"


@dataclass(frozen=True, slots=True)
class DrawnSequence:
    """Pairs of one population; all but the last have a person's label.

    Attributes:
        pairs: The pairs.
        examples: Those with labels, as they are shown.
        taste: What the population likes; 0 where the responses have no manner.
    """

    pairs: tuple[DrawnPair, ...]
    examples: tuple[Example, ...]
    taste: int

    @property
    def chosen(self) -> list[int]:
        """The manner of the response that each label prefers."""
        return [
            manner((shown.pair.responses_a if shown.label == "a" else shown.pair.responses_b)[0])
            for shown in self.examples
        ]


def draw_sequence(
    rng: np.random.Generator,
    pairs: int,
    *,
    taste: int = 0,
    taste_log_odds: float = TASTE_LOG_ODDS,
) -> DrawnSequence:
    """Return so many pairs of one population."""
    drawn = tuple(draw_pair(rng, taste=taste, taste_log_odds=taste_log_odds) for _ in range(pairs))
    examples = tuple(Example(one.pair, one.label(rng)) for one in drawn[:-1])
    return DrawnSequence(drawn, examples, taste)


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of prompts as token ids, with what is to be answered in them.

    Attributes:
        ids: Shape (n, length), filled up at the end.
        lengths: Shape (n,), tokens that are no filling.
        verdicts: Shape (n, pairs), the positions after which the labels follow.
        p_a: Shape (n, pairs), how often people prefer the response shown first.
        fits: Shape (n, length), whether a word fits its topic: 1 or -1, 0 where no word is.
        manners: Shape (n, pairs), the manner of the response shown first.
        chosen: Shape (n, pairs - 1), the manner of the response that each label prefers.
        tastes: Shape (n, pairs - 1), what the population likes, for every pair but the first.
    """

    ids: Integers
    lengths: Integers
    verdicts: Integers
    p_a: NDArray[np.float64]
    fits: Integers
    manners: Integers
    chosen: Integers
    tastes: Integers


class Layout:
    """Lays out sequences as `VllmJudge` does with `endpoint = "completions"`."""

    def __init__(self, tokenizer: Any) -> None:
        self._template = template()
        self._tokens = PromptTokens(tokenizer, is_chat=False)
        self._pad = int(tokenizer.pad_token_id)
        first, second = (_token(tokenizer, f" {label}") for label in self._template.labels)
        self.label_ids = (first, second)
        self._head = len(self._tokens.shared(self._template.shared()))
        self._topic_of_name, self._topic_of_word = _topics_of_tokens(tokenizer)

    def batch(self, drawn: Sequence[DrawnSequence]) -> Sequences:
        """Return sequences of equally many pairs."""
        laid_out = [self._ids(one) for one in drawn]
        lengths = np.array([len(ids) for ids in laid_out])
        ids = np.full((len(laid_out), int(lengths.max())), self._pad, dtype=np.int64)
        for index, row in enumerate(laid_out):
            ids[index, : len(row)] = row
        labels = len(drawn[0].examples)
        return Sequences(
            ids=ids,
            lengths=lengths,
            verdicts=np.array([self._verdicts(row, labels) for row in laid_out]),
            p_a=np.array([[one.p_a for one in each.pairs] for each in drawn]),
            fits=self._fits(ids),
            manners=np.array(
                [[manner(one.pair.responses_a[0]) for one in each.pairs] for each in drawn]
            ),
            chosen=np.array([each.chosen for each in drawn], dtype=np.int64),
            tastes=np.array([[each.taste] * labels for each in drawn], dtype=np.int64),
        )

    def _ids(self, drawn: DrawnSequence) -> list[int]:
        shared = self._tokens.shared(self._template.shared(drawn.examples))
        return [*shared, *self._tokens.query(self._template.query(drawn.pairs[-1].pair).text)]

    def _verdicts(self, ids: Sequence[int], shown: int) -> list[int]:
        """Return where each label is to follow: before every label shown, and at the end."""
        labels = set(self.label_ids)
        found = [at - 1 for at in range(self._head, len(ids)) if ids[at] in labels]
        if len(found) != shown:
            raise ValueError("a label's token occurs in the material that is judged")
        return [*found, len(ids) - 1]

    def _fits(self, ids: Integers) -> Integers:
        """Return which words belong to the topic that was named last before them."""
        named = self._topic_of_name[ids]
        last = np.maximum.accumulate(np.where(named >= 0, np.arange(ids.shape[1]), 0), axis=1)
        topic = np.take_along_axis(named, last, axis=1)
        word = self._topic_of_word[ids]
        return np.where(word < 0, 0, np.where(word == topic, 1, -1))


def _topics_of_tokens(tokenizer: Any) -> tuple[Integers, Integers]:
    """Return the topic that each token names, and that of which it is a word; -1 for none."""
    names, words = (np.full(len(tokenizer), -1, dtype=np.int64) for _ in range(2))
    for index, (topic, of_topic) in enumerate(TOPICS.items()):
        names[_token(tokenizer, f" {topic}")] = index
        for word in of_topic:
            words[[_token(tokenizer, word), _token(tokenizer, f" {word}")]] = index
    return names, words


def _token(tokenizer: Any, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"{text!r} is {len(ids)} tokens")
    return int(ids[0])
