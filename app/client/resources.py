"""The methods that both clients share, in groups and on the client itself."""

from __future__ import annotations

from functools import cached_property

from app.client import requests
from app.client.calls import Listing, ModeT, Performs, Resource, Verb


class Datasets(Resource[ModeT]):
    """Datasets; the client's `import_dataset` imports them."""

    list = Listing(requests.datasets)
    retrieve = Verb(requests.dataset)
    pairs = Listing(requests.pairs)
    pair = Verb(requests.pair)
    search = Verb(requests.search)
    similar = Verb(requests.similar_pairs)
    delete = Verb(requests.delete_dataset)


class Labels(Resource[ModeT]):
    """The labels of people."""

    create = Verb(requests.add_labels)
    check = Verb(requests.check_labels)
    list = Listing(requests.labels)


class Calibrations(Resource[ModeT]):
    """Certificates; the client's `wait_for_calibration` waits for one."""

    create = Verb(requests.create_calibration)
    retrieve = Verb(requests.calibration)
    list = Listing(requests.calibrations)
    curve = Verb(requests.calibration_curve)
    revoke = Verb(requests.revoke_calibration)
    known_prompts = Verb(requests.known_prompts)
    export = Verb(requests.export_calibration)
    import_document = Verb(requests.import_calibration)


class Judgments(Resource[ModeT]):
    """Verdicts on posted pairs, and stored ones."""

    create = Verb(requests.judge)
    list = Listing(requests.verdicts)


class Batches(Resource[ModeT]):
    """Batches; the client's `wait` waits for one, and `batch_results` returns its verdicts."""

    create = Verb(requests.create_batch)
    estimate = Verb(requests.estimate_batch)
    retrieve = Verb(requests.batch)
    list = Listing(requests.batches)
    cancel = Verb(requests.cancel_batch)
    retry = Verb(requests.retry_batch)
    preferences_card = Verb(requests.preferences_card)


class Files(Resource[ModeT]):
    """Files of batches; the client's `upload_file` and `file_content` send and fetch them."""

    retrieve = Verb(requests.file)
    list = Listing(requests.files)
    delete = Verb(requests.delete_file)


class Leaderboards(Resource[ModeT]):
    """Leaderboards; the service stores each."""

    create = Verb(requests.leaderboard)
    retrieve = Verb(requests.stored_leaderboard)
    list = Listing(requests.leaderboards)
    compare = Verb(requests.compare_leaderboards)
    reweight = Verb(requests.reweight_leaderboard)
    what_if = Verb(requests.what_if)


class Reports(Resource[ModeT]):
    """Agreement reports; the client's `report` and `health_card` make them, each is stored."""

    retrieve = Verb(requests.stored_report)
    list = Listing(requests.reports)
    compare = Verb(requests.compare_reports)
    of_batch = Verb(requests.report_of_batch)
    history = Verb(requests.history)
    health = Verb(requests.health_of)


class Judges(Resource[ModeT]):
    """The configured judges."""

    list = Listing(requests.judges)
    try_on = Verb(requests.try_judge)


class Cascades(Resource[ModeT]):
    """The configured cascades."""

    list = Listing(requests.cascades)


class Queues(Resource[ModeT]):
    """Pairs that people label; the client's `export_queue` writes tasks for another tool."""

    create = Verb(requests.create_queue)
    list = Listing(requests.queues)
    retrieve = Verb(requests.queue)
    claim = Verb(requests.claim)
    claim_from_all = Verb(requests.claim_from_all)
    answer = Verb(requests.answer)
    undo = Verb(requests.undo_answer)
    import_answers = Verb(requests.import_answers)


class Monitors(Resource[ModeT]):
    """Whether certificates still hold."""

    create = Verb(requests.create_monitor)
    list = Listing(requests.monitors)
    retrieve = Verb(requests.monitor)
    audits = Listing(requests.audits)
    answer = Verb(requests.answer_audits)
    end = Verb(requests.end_monitor)


class Finishes(Resource[ModeT]):
    """Datasets on their way to a verdict on every row."""

    create = Verb(requests.create_finish)
    list = Listing(requests.finishes)
    retrieve = Verb(requests.finish)
    retry = Verb(requests.retry_finish)
    rows = Listing(requests.finished_rows)


class Shadows(Resource[ModeT]):
    """Candidates that judge a share of the traffic and decide nothing."""

    create = Verb(requests.create_shadow)
    list = Listing(requests.shadows)
    retrieve = Verb(requests.shadow)
    end = Verb(requests.end_shadow)


class Verbs(Performs[ModeT]):
    """The methods of both clients."""

    create_calibration = Verb(requests.create_calibration)
    calibration = Verb(requests.calibration)
    plan = Verb(requests.plan)
    experiment = Verb(requests.experiment)
    canaries = Verb(requests.canaries)
    judge = Verb(requests.judge)
    replay = Verb(requests.replay)
    create_batch = Verb(requests.create_batch)
    batch = Verb(requests.batch)
    retry_batch = Verb(requests.retry_batch)
    leaderboard = Verb(requests.leaderboard)
    alive = Verb(requests.alive)
    ready = Verb(requests.ready)
    get = Verb(requests.get)
    post = Verb(requests.post)

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
