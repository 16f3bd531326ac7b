"""The methods that both clients share, in groups and on the client itself."""

from __future__ import annotations

from functools import cached_property

from app.client.calls import Listing, ModeT, Performs, Resource, Verb
from app.client.requests import boards, data, judging, paths, people


class Datasets(Resource[ModeT]):
    """Datasets; the client's `import_dataset` imports them."""

    list = Listing(data.datasets)
    retrieve = Verb(data.dataset)
    pairs = Listing(data.pairs)
    pair = Verb(data.pair)
    search = Verb(data.search)
    similar = Verb(data.similar_pairs)
    delete = Verb(data.delete_dataset)


class Labels(Resource[ModeT]):
    """The labels of people."""

    create = Verb(data.add_labels)
    check = Verb(data.check_labels)
    list = Listing(data.labels)


class Calibrations(Resource[ModeT]):
    """Certificates; the client's `wait_for_calibration` waits for one."""

    create = Verb(judging.create_calibration)
    retrieve = Verb(judging.calibration)
    list = Listing(judging.calibrations)
    curve = Verb(judging.calibration_curve)
    revoke = Verb(judging.revoke_calibration)
    known_prompts = Verb(judging.known_prompts)
    export = Verb(judging.export_calibration)
    import_document = Verb(judging.import_calibration)


class Judgments(Resource[ModeT]):
    """Verdicts on posted pairs, and stored ones."""

    create = Verb(judging.judge)
    list = Listing(judging.verdicts)


class Batches(Resource[ModeT]):
    """Batches; the client's `wait` waits for one, and `batch_results` returns its verdicts."""

    create = Verb(judging.create_batch)
    estimate = Verb(judging.estimate_batch)
    retrieve = Verb(judging.batch)
    list = Listing(judging.batches)
    cancel = Verb(judging.cancel_batch)
    retry = Verb(judging.retry_batch)
    preferences_card = Verb(judging.preferences_card)


class Files(Resource[ModeT]):
    """Files of batches; the client's `upload_file` and `file_content` send and fetch them."""

    retrieve = Verb(judging.file)
    list = Listing(judging.files)
    delete = Verb(judging.delete_file)


class Leaderboards(Resource[ModeT]):
    """Leaderboards; the service stores each."""

    create = Verb(boards.leaderboard)
    retrieve = Verb(boards.stored_leaderboard)
    list = Listing(boards.leaderboards)
    compare = Verb(boards.compare_leaderboards)
    reweight = Verb(boards.reweight_leaderboard)
    what_if = Verb(boards.what_if)


class Reports(Resource[ModeT]):
    """Agreement reports; the client's `report` and `health_card` make them, each is stored."""

    retrieve = Verb(boards.stored_report)
    list = Listing(boards.reports)
    compare = Verb(boards.compare_reports)
    of_batch = Verb(boards.report_of_batch)
    history = Verb(boards.history)
    health = Verb(boards.health_of)


class Judges(Resource[ModeT]):
    """The configured judges."""

    list = Listing(judging.judges)
    try_on = Verb(judging.try_judge)


class Cascades(Resource[ModeT]):
    """The configured cascades."""

    list = Listing(judging.cascades)


class Queues(Resource[ModeT]):
    """Pairs that people label; the client's `export_queue` writes tasks for another tool."""

    create = Verb(people.create_queue)
    list = Listing(people.queues)
    retrieve = Verb(people.queue)
    claim = Verb(people.claim)
    claim_from_all = Verb(people.claim_from_all)
    answer = Verb(people.answer)
    undo = Verb(people.undo_answer)
    import_answers = Verb(people.import_answers)


class Monitors(Resource[ModeT]):
    """Whether certificates still hold."""

    create = Verb(people.create_monitor)
    list = Listing(people.monitors)
    retrieve = Verb(people.monitor)
    audits = Listing(people.audits)
    answer = Verb(people.answer_audits)
    end = Verb(people.end_monitor)


class Finishes(Resource[ModeT]):
    """Datasets on their way to a verdict on every row."""

    create = Verb(people.create_finish)
    list = Listing(people.finishes)
    retrieve = Verb(people.finish)
    retry = Verb(people.retry_finish)
    rows = Listing(people.finished_rows)


class Shadows(Resource[ModeT]):
    """Candidates that judge a share of the traffic and decide nothing."""

    create = Verb(people.create_shadow)
    list = Listing(people.shadows)
    retrieve = Verb(people.shadow)
    end = Verb(people.end_shadow)


class Verbs(Performs[ModeT]):
    """The methods of both clients."""

    create_calibration = Verb(judging.create_calibration)
    calibration = Verb(judging.calibration)
    plan = Verb(judging.plan)
    experiment = Verb(judging.experiment)
    canaries = Verb(judging.canaries)
    judge = Verb(judging.judge)
    replay = Verb(judging.replay)
    create_batch = Verb(judging.create_batch)
    batch = Verb(judging.batch)
    retry_batch = Verb(judging.retry_batch)
    leaderboard = Verb(boards.leaderboard)
    alive = Verb(judging.alive)
    ready = Verb(judging.ready)
    get = Verb(paths.get)
    post = Verb(paths.post)

    @cached_property
    def datasets(self) -> Datasets[ModeT]:
        """Imported datasets."""
        return Datasets(self)

    @cached_property
    def labels(self) -> Labels[ModeT]:
        """Labels of people."""
        return Labels(self)

    @cached_property
    def calibrations(self) -> Calibrations[ModeT]:
        """Certificates."""
        return Calibrations(self)

    @cached_property
    def judgments(self) -> Judgments[ModeT]:
        """Verdicts."""
        return Judgments(self)

    @cached_property
    def batches(self) -> Batches[ModeT]:
        """Batches."""
        return Batches(self)

    @cached_property
    def files(self) -> Files[ModeT]:
        """Files of requests, and what came of batches."""
        return Files(self)

    @cached_property
    def leaderboards(self) -> Leaderboards[ModeT]:
        """Leaderboards."""
        return Leaderboards(self)

    @cached_property
    def reports(self) -> Reports[ModeT]:
        """Agreement reports."""
        return Reports(self)

    @cached_property
    def queues(self) -> Queues[ModeT]:
        """Pairs that people label."""
        return Queues(self)

    @cached_property
    def monitors(self) -> Monitors[ModeT]:
        """Whether certificates still hold."""
        return Monitors(self)

    @cached_property
    def finishes(self) -> Finishes[ModeT]:
        """Datasets on their way to a verdict on every row."""
        return Finishes(self)

    @cached_property
    def shadows(self) -> Shadows[ModeT]:
        """Candidates that judge a share of the traffic and decide nothing."""
        return Shadows(self)

    @cached_property
    def judges(self) -> Judges[ModeT]:
        """Configured judges."""
        return Judges(self)

    @cached_property
    def cascades(self) -> Cascades[ModeT]:
        """Configured cascades."""
        return Cascades(self)
