"""The verb that trains a student of a judge; the service gives pairs, labels and the teacher's scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.console import EXIT_USAGE, AsJson, Console, fail, note, percent
from app.cli.judging import JudgeFailures
from app.cli.options import DatasetArgument, PartOption, Patience, given, part_of
from app.cli.service import Errand, Key, Server, open_tribunal, wait_for_batch, whole
from app.cli.tables.layout import Screen, escape

if TYPE_CHECKING:
    from app.bodies.batches import BatchEstimateBody
    from app.bodies.judgments import ResultBody
    from app.client import Tribunal
    from judges.student.training.distil import Material
    from judges.student.training.lora import BaseModel


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(distil)


def distil(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    teacher: Annotated[
        str, typer.Option(help="a cascade, or a judge, configured or recorded in the dataset")
    ],
    out: Annotated[
        Path, typer.Option(help="folder for student.npz, judges.toml and MODEL_CARD.md")
    ],
    part: PartOption = None,
    slices: Annotated[
        list[str] | None, typer.Option(help="a metadata field to show figures by; repeatable")
    ] = None,
    target_agreement: Annotated[
        float, typer.Option(help="of the certificates that are replayed, between 0 and 1")
    ] = 0.85,
    budget_usd: Annotated[
        float | None, typer.Option(min=0, help="most that asking the teacher may cost")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="pay what the teacher costs")] = False,
    lora: Annotated[
        bool, typer.Option("--lora", help="also a LoRA adapter of --base, in the folder adapter/")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="with --lora: folder or hub name of a model for vLLM")
    ] = None,
    rank: Annotated[
        int, typer.Option("--lora-rank", min=1, max=512, help="of the adapter's matrices")
    ] = 16,
    epochs: Annotated[
        int, typer.Option("--lora-epochs", min=1, help="the adapter's passes over the pairs")
    ] = 3,
    learning_rate: Annotated[
        float, typer.Option("--lora-rate", min=0, help="the adapter's largest learning rate")
    ] = 2e-4,
    seed: Annotated[int, typer.Option(min=0, help="of folds and trees")] = 0,
    patience: Patience = 120.0,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Train a cheap student of a judge: stored scores first, then the teacher is asked for the rest.

    Prompts that it learns from calibrate no certificate of it: keep some apart with --part.
    """
    if not 0 < target_agreement < 1:
        fail("--target-agreement: a share between 0 and 1", status=EXIT_USAGE)
    model = _base_model(base, wanted=lora)
    _refuse_taken(out)
    with open_tribunal(server, key) as tribunal:
        request = given(
            dataset=dataset, cascade=_teacher(tribunal, teacher, dataset), part=part_of(part)
        )
        _refuse_cost(tribunal.batches.estimate(**request), yes=yes, budget_usd=budget_usd)
        created = tribunal.create_batch(**request, **given(budget_usd=budget_usd))
        errand = Errand("batch", "batch", created["id"], server, patience)
        ended = wait_for_batch(tribunal, created, errand)
        if ended["status"] != "completed":
            fail(f"the teacher's batch ended as {ended['status']}: {ended['error'] or 'not all'}")
        with errand.kept():
            said = {one["id"]: one for one in tribunal.batch_results(ended["id"])}
            exported = BytesIO()
            tribunal.export(dataset, exported, format="canonical")
        prints = {one["name"]: one["fingerprint"] for one in tribunal.judges.list()}
    rows = [row for row in map(json.loads, exported.getvalue().splitlines()) if row["id"] in said]
    _note_failures(said.values())
    materials = list(_materials(rows, said, slices or ()))
    made = _Made.of(
        materials,
        {
            "dataset": dataset,
            "teacher": teacher,
            "teacher_fingerprint": prints.get(teacher),
            "part": part,
            "target_agreement": target_agreement,
            "without_text": len(rows) - len(materials),
            "seed": seed,
        },
    )
    made.write(out)
    if model is not None:
        made.add_adapter(materials, model, (rank, epochs, learning_rate), out)
    Console(as_json).show(made.figures, _show)


def _base_model(base: str | None, *, wanted: bool) -> BaseModel | None:
    """Return the model to be adapted, and refuse one that cannot be, before the teacher is asked."""
    if wanted != (base is not None):
        fail("--lora goes with --base, and --base with --lora", status=EXIT_USAGE)
    if base is None:
        return None
    from judges.errors import JudgeConfigurationInvalid
    from judges.student.training.lora import BaseModel

    try:
        return BaseModel(base)
    except JudgeConfigurationInvalid as error:
        fail(f"--base: {error}", status=EXIT_USAGE)


def _refuse_taken(folder: Path) -> None:
    """Refuse a folder that cannot be written, or whose student a judge may be using."""
    from judges.student.training.adapters import ADAPTER_FOLDER, JUDGES_FILE
    from judges.student.training.distilled import CARD_FILE, WEIGHTS_FILE

    ours = (WEIGHTS_FILE, CARD_FILE, ADAPTER_FOLDER, JUDGES_FILE)
    taken = next((name for name in ours if (folder / name).exists()), None)
    if taken is not None:
        fail(f"--out: {folder} holds {taken} already: give another folder", status=EXIT_USAGE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--out: {folder}: {error.strerror or error}", status=EXIT_USAGE)


def _teacher(tribunal: Tribunal, name: str, dataset: str) -> str | dict[str, list[str]]:
    """Return the configured cascade of this name, else the judge of this name alone."""
    if any(one["name"] == name for one in tribunal.cascades.list()):
        return name
    configured = [one["name"] for one in tribunal.judges.list()]
    known = [*configured, *tribunal.datasets.retrieve(dataset)["recorded_judges"]]
    if name not in known:
        fail(
            f"--teacher: {name!r} is no cascade, and no judge that is configured or recorded in "
            f"{dataset!r}: {', '.join(dict.fromkeys(known))}"
        )
    return {"judges": [name]}


def _refuse_cost(estimate: BatchEstimateBody, *, yes: bool, budget_usd: float | None) -> None:
    """Refuse to ask a teacher that costs money, or may, unless that was agreed to."""
    asked = [one for one in estimate["judges"] if one["basis"] != "free" and one["pairs"]["high"]]
    cost = estimate["cost_usd"]
    if not asked or yes or budget_usd is not None or (cost is not None and not cost["high"]):
        return
    what = "a sum that is not known"
    if cost is not None:
        what = f"{cost['low']:.4f} to {cost['high']:.4f} USD"
    fail(
        f"{estimate['scored_pairs']} of {estimate['looked_at']} pairs have the teacher's score; to ask "
        f"it for the others would cost {what}: give --yes, or --budget-usd",
        status=EXIT_USAGE,
    )


def _materials(
    rows: Iterable[Mapping[str, Any]], said: Mapping[str, ResultBody], slices: Sequence[str]
) -> Iterator[Material]:
    """Yield the pairs that have texts, with votes by the criterion of the whole, and what was said."""
    from app.core.models import OVERALL
    from app.formats.canonical import PairIn, to_pair
    from judges.student.training.distil import Material

    for row in rows:
        if not ("prompt" in row or "messages" in row):
            continue
        votes = [one["label"] for one in row["human"] if one["criterion"] == OVERALL]
        metadata = row["metadata"]
        yield Material(
            to_pair(PairIn.model_validate(row)),
            row["group"],
            (votes.count("a"), votes.count("b"), votes.count("tie")),
            _p_a(said[row["id"]]),
            {name: str(metadata[name]) for name in slices if name in metadata},
        )


def _note_failures(verdicts: Iterable[ResultBody]) -> None:
    """Say on how many pairs a judge failed, and why first; they may still teach by their labels."""
    for judge, counts in JudgeFailures.of(verdicts).as_json()["judges"].items():
        note(
            f"{judge} failed on {counts['failed']} of {counts['asked']} pairs: {counts['first_reason']}"
        )


def _p_a(verdict: ResultBody) -> float | None:
    """Return the probability of the judge that answered, else of the last one that gave any."""
    heard = [one for one in verdict["tiers"] if one["p_a"] is not None]
    chosen = next((one for one in heard if one["judge"] == verdict["judge"]), None)
    tier = chosen or (heard[-1] if heard else None)
    if tier is None or tier["p_a"] is None:
        return None
    return tier["p_a"] + (tier["p_tie"] or 0.0) / 2


class _Made:
    """A student and its card, on their way into a folder."""

    def __init__(self, data: bytes, card: str, figures: dict[str, Any], target: float) -> None:
        self._data, self._card, self._target = data, card, target
        self.figures = figures

    @classmethod
    def of(cls, materials: Sequence[Material], task: Mapping[str, Any]) -> _Made:
        """Train it, and say how far that is."""
        from judges.student.training.distilled import NothingToLearn, Task, make_student, render

        try:
            data, card = make_student(materials, Task(**task), note)
        except NothingToLearn as error:
            fail(str(error))
        return cls(data, render(card), card.as_json(), task["target_agreement"])

    def write(self, folder: Path) -> None:
        """Write the card, then the weights: where there are weights there is a card."""
        from judges.student.training.adapters import JUDGES_FILE, judges_toml
        from judges.student.training.distilled import CARD_FILE, WEIGHTS_FILE

        files = {CARD_FILE: self._card.encode(), WEIGHTS_FILE: self._data}
        for name, content in {**files, JUDGES_FILE: judges_toml(None).encode()}.items():
            _write(folder / name, content)
        self.figures["folder"] = str(folder)

    def add_adapter(
        self,
        materials: Sequence[Material],
        base: BaseModel,
        how: tuple[int, int, float],
        folder: Path,
    ) -> None:
        """Train and write an adapter with the same w and T, and add it to the card.

        `how`: its rank, epochs and learning rate.
        """
        from judges.errors import JudgeConfigurationInvalid
        from judges.student.training import adapters
        from judges.student.training.distil import Setting
        from judges.student.training.distilled import CARD_FILE
        from judges.student.training.lora import LoraRecipe

        rank, epochs, learning_rate = how
        task = adapters.AdapterTask(
            base,
            Setting(**self.figures["setting"]),
            self.figures["seed"],
            self._target,
            LoraRecipe(rank, 2 * rank, epochs, learning_rate),
        )
        try:
            card = adapters.make_adapter(materials, task, folder / adapters.ADAPTER_FOLDER, note)
        except JudgeConfigurationInvalid as error:
            fail(f"no adapter was made; {folder} holds the other student: {error}")
        _write(folder / CARD_FILE, (self._card + adapters.render(card)).encode())
        _write(folder / adapters.JUDGES_FILE, adapters.judges_toml(base).encode())
        self.figures["adapter"] = card.as_json()


def _write(file: Path, content: bytes) -> None:
    with whole(file, "--out") as opened:
        opened.write(content)


def _show(console: Screen, made: Any) -> None:
    chosen = made["setting"]
    console.print(
        f"{escape(made['folder'])}: student.npz, judges.toml and MODEL_CARD.md; learnt from {made['pairs']} pairs of "
        f"{made['prompts']} prompts, w = {chosen['label_weight']:g}, T = {chosen['temperature']:g}"
    )
    for row in made["rows"]:
        one = row["share"]
        if row["slice"] == "all" and row["judge"] in ("student", "teacher"):
            console.print(
                f"{row['judge']} agrees with {row['reference']}: {percent(one['value'])} "
                f"[{percent(one['low'])}, {percent(one['high'])}] on {one['pairs']} pairs"
            )
    if "adapter" in made:
        _show_adapter(console, made["adapter"])
    found = made["saving"]
    if found is None:
        console.print("too few prompts with labels to say what it saves")
        return
    both, alone = found["with_student"], found["teacher_alone"]
    console.print(
        f"replayed at {percent(found['target_agreement'])}: before the teacher it answers "
        f"{percent(both['coverage'])} for {percent(both['relative_cost'])} of the teacher's calls; the "
        f"teacher alone answers {percent(alone['coverage'])} for {percent(alone['relative_cost'])}"
    )


def _show_adapter(console: Screen, made: dict[str, Any]) -> None:
    console.print(
        f"adapter: of {escape(made['base'])}, learnt from {made['pairs']} pairs, loss "
        f"{made['losses'][0]:.4f} to {made['losses'][-1]:.4f}"
    )
    for row in made["rows"]:
        one = row["share"]
        if row["slice"] == "all" and row["judge"] != "teacher":
            console.print(
                f"{row['judge']} agrees with {row['reference']}: {percent(one['value'])} "
                f"[{percent(one['low'])}, {percent(one['high'])}] on {one['pairs']} other pairs"
            )
