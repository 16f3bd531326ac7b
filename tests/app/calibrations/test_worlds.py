"""Worlds in which the promise broke at a seam of the service, through the service's own functions.

The risk is the target everywhere, so that every certificate breaks its promise. With the mends of
few-shot examples and of sorted files taken out, the same worlds must be flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import draws as draws_of
from app.calibrations.draws import fairly_drawn, in_order_of_labels, without_adjudication
from app.calibrations.evidence import certify
from app.calibrations.inputs import draw_sample, gather
from app.calibrations.schemas import CalibrationIn, Method
from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.datasets.records import PairKey, Vote
from app.queues import filling
from app.queues.schemas import QueueIn
from app.queues.service import placed
from app.scores.table import NO_FAILURE, ScoreTable
from calibration.arrays import FloatArray
from judges.base import Judge
from judges.prompting.examples import LabelledPair, draw_annotators, example_prompts
from tests.app.rows import upload
from tests.calibration.simulation import allowed_share
from tests.judges.pairs import pair_of

Votes = dict[int, list[Vote]]


def key(number: int, group: str) -> PairKey:
    prompt = pair_of(f"Question {number}?", "x").prompt_hash
    names = group, prompt, f"c{number}", f"s{number}"
    return PairKey(number, number, f"p{number}", *names, None, None, {})


def table(p_a: FloatArray) -> ScoreTable:
    shape = (len(p_a), 1)
    nothing, column = np.full(shape, np.nan), p_a[:, None]
    return ScoreTable(
        ("only",), column, np.zeros(shape), np.ones(shape, bool), np.full(shape, ""), nothing,
        nothing, nothing, nothing, np.zeros(shape), np.full(shape, NO_FAILURE, np.int8),
    )  # fmt: skip


def judge_that_knows(prompts: frozenset[str]) -> Judge:
    spec = SimpleNamespace(training_prompts=frozenset(), example_prompts=prompts)
    return cast(Judge, SimpleNamespace(spec=spec))


def is_certified(
    keys: Sequence[PairKey], votes: Votes, p_a: FloatArray, known: frozenset[str], **asked: Any
) -> bool:
    request = CalibrationIn(dataset="made", **asked)
    sample = draw_sample(keys, votes, [judge_that_knows(known)])
    scores = table(p_a).rows([one.seq for one in sample.keys])
    found = certify(request, gather(request, sample, scores), None, np.random.default_rng(0))
    return found.is_certified


def few_shot_broken(draws: int, *, is_mended: bool) -> float:
    """Errors are .8 where people say b, which is rare, and .02 elsewhere: .137 in all."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([1, draw])
        says_b = rng.uniform(size=250) < 0.15
        is_wrong = rng.uniform(size=250) < np.where(says_b, 0.8, 0.02)
        sure = rng.uniform(0.6, 0.95, 250)
        p_a = np.where(says_b == is_wrong, sure, 1 - sure)
        labels = ["b" if one else "a" for one in says_b]
        keys = [key(i, f"g{i}") for i in range(250)]
        votes = {i: [Vote("ann", cast(Any, label), {})] for i, label in enumerate(labels)}
        pairs = [
            LabelledPair(
                pair_of(f"Question {i}?", "x", pair_id=f"p{i}"), (("ann", label),), f"g{i}"
            )
            for i, label in enumerate(cast(Any, labels))
        ]
        sets = draw_annotators(pairs, 5, 5, rng, labels="majority")
        known = example_prompts(sets if is_mended else tuple(sets))
        broken += is_certified(keys, votes, p_a, known, target_agreement=1 - 0.137)
    return broken / draws


def test_few_shot_examples_leave_a_fair_sample() -> None:
    assert few_shot_broken(40, is_mended=True) <= allowed_share(0.1, 40)


@pytest.mark.slow
def test_few_shot_examples_leave_a_fair_sample_over_many_draws() -> None:
    rate, faulty = (few_shot_broken(600, is_mended=mended) for mended in (True, False))
    print(f"examples drawn by label: {rate:.3f}; only those shown leave: {faulty:.3f}")  # noqa: T201
    assert rate <= allowed_share(0.1, 600)
    assert faulty > allowed_share(0.1, 600)


def groups_broken(draws: int) -> float:
    """Groups of ten decided pairs at risk .28, and of one beside nine ties at .02: .15 a group."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([2, draw])
        group = np.repeat(np.arange(80), 10)
        is_decided = (group % 2 == 0) | (np.arange(800) % 10 == 0)
        is_wrong = rng.uniform(size=800) < np.where(group % 2 == 0, 0.28, 0.02)
        says_a, sure = rng.uniform(size=800) < 0.5, rng.uniform(0.6, 0.95, 800)
        p_a = np.where(says_a != is_wrong, sure, 1 - sure)
        said = np.where(is_decided, np.where(says_a, "a", "b"), "tie").tolist()
        votes = {i: [Vote("ann", cast(Any, label), {})] for i, label in enumerate(said)}
        keys = [key(i, f"g{group[i]}") for i in range(800)]
        broken += is_certified(keys, votes, p_a, frozenset(), target_agreement=0.85)
    return broken / draws


def test_one_decided_pair_of_a_group_is_what_is_promised() -> None:
    assert groups_broken(20) <= allowed_share(0.1, 20)


@pytest.mark.slow
def test_one_decided_pair_of_a_group_is_what_is_promised_over_many_draws() -> None:
    rate = groups_broken(300)
    print(f"groups with ties: {rate:.3f}")  # noqa: T201
    assert rate <= allowed_share(0.1, 300)


def ranking_broken(draws: int, least: float) -> float:
    """A leaderboard leaves x and y open; judges are wrong on half of z against w, .23 in all.

    `least` is the smallest probability that any label carries, known before there is one.
    """
    couples = [("x", "y")] * 360 + [("z", "x")] * 360 + [("z", "w")] * 480
    keys = [
        key(i, f"g{i}")._replace(model_a=one, model_b=other)
        for i, (one, other) in enumerate(couples)
    ]
    risk = np.repeat([0.05, 0.5], [720, 480])
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([6, draw])
        is_wrong, sure = rng.uniform(size=1200) < risk, rng.uniform(0.6, 0.95, 1200)
        queued = filling.by_stratum(keys, [filling.Open(("x", "y"), 0.05)], draw, 600)
        votes = {
            one.key.seq: [Vote("ann", "a", {"label_probability": one.probability})]
            for one in queued
        }
        p_a = np.where(is_wrong, 1 - sure, sure)
        broken += is_certified(
            keys, votes, p_a, frozenset(), target_agreement=0.8, min_label_probability=least
        )
    return broken / draws


@pytest.mark.parametrize("is_mended", [True, False])
def test_a_queue_for_a_ranking_leaves_no_kind_of_pairs_out(
    monkeypatch: pytest.MonkeyPatch, *, is_mended: bool
) -> None:
    if not is_mended:
        monkeypatch.setattr(filling, "_FOR_ALL", 0.0)
    broken = ranking_broken(10, 0.05 if is_mended else 0.5)
    assert (broken <= allowed_share(0.1, 10)) is is_mended


@pytest.mark.slow
def test_a_queue_for_a_ranking_leaves_no_kind_of_pairs_out_over_many_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rate = ranking_broken(500, 0.05)
    monkeypatch.setattr(filling, "_FOR_ALL", 0.0)
    faulty = ranking_broken(500, 0.5)
    print(f"queue for a ranking: {rate:.3f}; couples left out: {faulty:.3f}")  # noqa: T201
    assert rate <= allowed_share(0.1, 500) < faulty


def finish_broken(draws: int, *, is_mended: bool) -> float:
    """People labelled 300 easy rows of 1,000 before 100 were drawn; of the others .1 are wrong."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([7, draw])
        keys = [key(i, f"g{i}") for i in range(1000)]
        is_wrong, sure = rng.uniform(size=1000) < 0.1, rng.uniform(0.6, 0.95, 1000)
        is_wrong[:300] = False
        p_a = np.where(is_wrong, 1 - sure, sure)
        drawn = 300 + rng.permutation(700)[:100]
        votes = {i: [Vote("ann", "a", {})] for i in range(300)}
        votes |= {int(i): [Vote("ann", "a", {"queue": "sample"})] for i in drawn}
        request = CalibrationIn(dataset="made", scope="dataset", max_error=0.05)
        fair = fairly_drawn(votes, {}, {"sample"} if is_mended else None)
        sample = draw_sample(keys, fair, [judge_that_knows(frozenset())])
        scores = table(p_a).rows([one.seq for one in sample.keys])
        found = certify(request, gather(request, sample, scores), None, rng)
        is_judged = sure >= found.thresholds[0]
        is_judged[list(votes)] = False
        broken += bool((is_judged & is_wrong).mean() > 0.05)
    return broken / draws


def adjudicated_broken(draws: int, *, is_mended: bool) -> float:
    """People say a with .72, and a third one is asked where two differ; the judge always says a."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([8, draw])
        says_a = rng.uniform(size=(5000, 3)) < 0.72
        votes = {}
        for i, said in enumerate(says_a.tolist()):
            asked = said[:2] if said[0] == said[1] else said
            votes[i] = [
                Vote(f"p{who}", "a" if one else "b", {"queue": "q"})
                for who, one in enumerate(asked)
            ]
        if is_mended:
            votes = without_adjudication(votes, {"q": 2})
        keys = [key(i, f"g{i}") for i in range(5000)]
        sure = rng.uniform(0.6, 0.95, 5000)
        broken += is_certified(
            keys, votes, sure, frozenset(), target_agreement=0.72, label_rule="random_annotator"
        )
    return broken / draws


def drawn_later_broken(draws: int, *, is_mended: bool) -> float:
    """People labelled the 300 of 1,000 pairs on which judges had abstained before 250 are drawn.

    There .5 of the verdicts are wrong, elsewhere .05: .185 of all. The target is .12.
    """
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([9, draw])
        keys = [key(i, f"g{i}") for i in range(1000)]
        is_wrong = rng.uniform(size=1000) < np.where(np.arange(1000) < 300, 0.5, 0.05)
        sure = rng.uniform(0.6, 0.95, 1000)
        votes: Votes = {i: [Vote("ann", "a", {"selected": "finish"})] for i in range(300)}
        done = fairly_drawn(votes, {}) if is_mended else votes
        free = [one for one in keys if one.seq not in done]
        for one in filling.uniformly(free, draw, 250):
            votes.setdefault(one.key.seq, []).append(Vote("bob", "a", {"queue": "q"}))
        p_a = np.where(is_wrong, 1 - sure, sure)
        fair = fairly_drawn(votes, {})
        broken += is_certified(keys, fair, p_a, frozenset(), target_agreement=0.88)
    return broken / draws


def asked_broken(draws: int, *, is_mended: bool, method: Method) -> float:
    """A file sorted by difficulty, .2 wrong in all, of which a queue asks for 150 of 600 pairs."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([10, draw])
        keys = [key(i, f"g{i}") for i in range(600)]
        is_wrong = rng.uniform(size=600) < np.where(np.arange(600) < 200, 0.02, 0.29)
        sure = rng.uniform(0.6, 0.95, 600)
        p_a = np.where(is_wrong, 1 - sure, sure)
        request = QueueIn(name="q", dataset="made", purpose="asked", labels=150, seed=draw)
        in_turn = [one.key for one in placed(keys, request)] if is_mended else keys[:150]
        looks = range(30, 151, 30) if method == "sequential" else [150]
        for look in looks:
            votes: Votes = {one.seq: [Vote("ann", "a", {"queue": "q"})] for one in in_turn[:look]}
            if is_certified(in_turn, votes, p_a, frozenset(), target_agreement=0.8, method=method):
                broken += 1
                break
    return broken / draws


def contested_broken(draws: int, *, is_mended: bool) -> float:
    """Two of three people have voted; judges are wrong on .35 of what they contest, .16 of all."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([11, draw])
        is_contested = rng.uniform(size=400) < 0.4
        is_wrong = rng.uniform(size=400) < np.where(is_contested, 0.35, 0.033)
        sure = rng.uniform(0.6, 0.95, 400)
        keys = [key(i, f"g{i}") for i in range(400)]
        votes: Votes = {
            i: [Vote("ann", "a", {}), Vote("bob", "b" if one else "a", {})]
            for i, one in enumerate(is_contested.tolist())
        }
        if is_mended:
            with pytest.raises(Unprocessable, match="wait"):
                draws_of.refuse_waiting(votes, dict.fromkeys(range(400), "two"))
            for said in votes.values():
                said.append(Vote("eve", "a", {}))
        p_a = np.where(is_wrong, 1 - sure, sure)
        broken += is_certified(keys, votes, p_a, frozenset(), target_agreement=1 - 0.1598)
    return broken / draws


def completed_broken(draws: int, *, is_mended: bool) -> float:
    """A queue for a ranking draws .5 of the pairs whose order is settled; later people label the rest.

    Judges are wrong on .5 of the other pairs, which are all drawn, and on none of these: .25 in all.
    """
    couples = [("x", "y")] * 600 + [("z", "w")] * 600
    keys = [
        key(i, f"g{i}")._replace(model_a=one, model_b=other)
        for i, (one, other) in enumerate(couples)
    ]
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([12, draw])
        is_wrong = rng.uniform(size=1200) < np.repeat([0.5, 0.0], 600)
        sure = rng.uniform(0.6, 0.95, 1200)
        drawn = filling.by_stratum(keys, [filling.Open(("x", "y"), 0.05)], draw, 900)
        votes: Votes = {
            one.key.seq: [Vote("ann", "a", {"label_probability": one.probability, "queue": "q"})]
            for one in drawn
        }
        rest = set(range(1200)) - set(votes)
        if is_mended:
            since = {seq: [Vote("bob", "a", {})] for seq in rest}
            with pytest.raises(Unprocessable, match="how probable"):
                draws_of.refuse_labels_since_a_draw({**votes, **since}, rest)
        else:
            votes |= {seq: [Vote("bob", "a", {})] for seq in rest}
        p_a = np.where(is_wrong, 1 - sure, sure)
        broken += is_certified(
            keys, votes, p_a, frozenset(), target_agreement=0.75, min_label_probability=0.5
        )
    return broken / draws


# how often a promise is broken in so many draws, with the mend and without; draws of the quick and the
# slow form
Broken = Callable[..., float]
WORLDS: dict[str, tuple[Broken, int, int]] = {
    "rows that people chose to label say nothing of a finish": (finish_broken, 10, 500),
    "third votes where two differ are no random annotators": (adjudicated_broken, 3, 200),
    "pairs that were labelled for their verdict can be drawn": (drawn_later_broken, 6, 500),
    "a queue that is asked for follows no file": (partial(asked_broken, method="auto"), 4, 300),
    "nor where tests are repeated": (partial(asked_broken, method="sequential"), 4, 300),
    "contested pairs wait for their last vote": (contested_broken, 6, 500),
    "labels beside a draw are no part of it": (completed_broken, 4, 300),
}


@pytest.mark.parametrize("is_mended", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_a_break_is_closed_and_seen_where_it_is_not(world: str, *, is_mended: bool) -> None:
    broken, draws, _ = WORLDS[world]
    assert (broken(draws, is_mended=is_mended) <= allowed_share(0.1, draws)) is is_mended


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_a_break_is_closed_over_many_draws(world: str) -> None:
    broken, _, draws = WORLDS[world]
    rate, faulty = (broken(draws, is_mended=mended) for mended in (True, False))
    print(f"{world}: {rate:.3f}; without the mend: {faulty:.3f}")  # noqa: T201
    assert rate <= allowed_share(0.1, draws) < faulty


async def second_votes_broken(client: httpx.AsyncClient, draws: int) -> float:
    """Annotator 2 repeats annotator 1, in another order; a look after every 20 labels."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([3, draw])
        sure, is_wrong = rng.uniform(0.6, 0.95, 160), rng.uniform(size=160) < 0.2
        name = f"looks{draw}"
        rows = [
            {
                "id": f"p{i}",
                "prompt": f"Draw {draw}, question {i}?",
                "response_a": "One.",
                "response_b": "Two.",
                "judges": {"only": {"p_a": float(1 - sure[i] if is_wrong[i] else sure[i])}},
            }
            for i in range(160)
        ]
        await upload(client, name, rows)
        looks = []
        for start in range(0, 160, 20):
            looks.append(("ann", range(start, start + 20)))
            looks.append(("bob", rng.permutation(start + 20)[:20].tolist()))
        broken += await _looked_at(client, name, looks)
    return broken / draws


async def _looked_at(client: httpx.AsyncClient, name: str, looks: Sequence[Any]) -> bool:
    asked = {
        "dataset": name, "cascade": {"judges": ["only"]}, "method": "sequential",
        "target_agreement": 0.8,
    }  # fmt: skip
    for who, pairs in looks:
        labels = [{"dataset": name, "pair": f"p{i}", "annotator": who, "label": "a"} for i in pairs]
        assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
        made = (await client.post("/v1/calibrations", json=asked)).json()
        if made["status"] == "certified":
            return True
    return False


@pytest.mark.slow
async def test_second_votes_move_nothing(client: httpx.AsyncClient) -> None:
    draws = 30
    rate = await second_votes_broken(client, draws)
    print(f"second votes: {rate:.3f}")  # noqa: T201
    assert rate <= allowed_share(0.1, draws)


async def sorted_file_broken(client: httpx.AsyncClient, draws: int) -> int:
    """One import of labels, sorted by task: the first 90 of 200 are easy, the risk is .2 in all."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([4, draw])
        risk = np.where(np.arange(200) < 90, 0.0, 0.364)
        sure, is_wrong = rng.uniform(0.6, 0.95, 200), rng.uniform(size=200) < risk
        rows = [
            {
                "id": f"p{i}",
                "prompt": f"Draw {draw}, question {i}?",
                "response_a": "One.",
                "response_b": "Two.",
                "human": [{"annotator": "ann", "label": "a"}],
                "judges": {"only": {"p_a": float(1 - sure[i] if is_wrong[i] else sure[i])}},
            }
            for i in range(200)
        ]
        await upload(client, f"sorted{draw}", rows)
        broken += await _looked_at(client, f"sorted{draw}", [("ann", range(1))])
    return broken


async def in_order_of_the_file(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], queues: None
) -> tuple[list[PairKey], Votes]:
    """The fault: labels of one moment keep the order of their file."""
    placed, votes = await _MENDED(session, dataset, keys, queues)
    return sorted(placed, key=lambda one: one.position), votes


_MENDED = in_order_of_labels


@pytest.mark.parametrize("is_mended", [True, False])
async def test_a_sorted_file_says_nothing_of_the_order(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, is_mended: bool
) -> None:
    draws = 3
    if not is_mended:
        monkeypatch.setattr(draws_of, "in_order_of_labels", in_order_of_the_file)
    broken = await sorted_file_broken(client, draws)
    assert (broken / draws <= allowed_share(0.1, draws)) is is_mended


async def test_a_pair_of_no_known_slice_has_no_verdict(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(5)
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"Question {i} of a known task?",
            "response_a": "One.",
            "response_b": "Two.",
            "human": [{"annotator": "ann", "label": "a"}],
            "judges": {"only": {"p_a": float(rng.uniform(0.7, 0.95))}},
            "metadata": {"task": "maths" if i % 2 else "poems"},
        }
        for i in range(200)
    ]
    await upload(client, "tasks", rows)
    asked = {"dataset": "tasks", "cascade": {"judges": ["only"]}, "slices": "metadata.task"}
    made = (await client.post("/v1/calibrations", json={**asked, "slice_rule": "common"})).json()
    assert made["status"] == "certified"
    new = {**rows[0], "id": "new", "prompt": "A question of another task?"}
    pairs = [{k: v for k, v in new.items() if k != "human"} for _ in range(2)]
    pairs[0] |= {"id": "unknown", "metadata": {"task": "law"}}
    answer = await client.post("/v1/judgments", json={"pairs": pairs, "calibration": made["id"]})
    assert [one["status"] for one in answer.json()["verdicts"]] == ["abstained", "accepted"]
