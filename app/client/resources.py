"""The client's verbs, in groups and on the client itself; each is described once."""

from __future__ import annotations

from functools import cached_property

from app.client import calls
from app.client.verbs import Listing, ModeT, Performs, Resource, Verb


class Datasets(Resource[ModeT]):
    """Datasets; they are imported by `import_dataset` of the client."""

    list = Listing(calls.datasets)
    retrieve = Verb(calls.dataset)
    pairs = Listing(calls.pairs)
    delete = Verb(calls.delete_dataset)


class Labels(Resource[ModeT]):
    """What people said of pairs."""

    create = Verb(calls.add_labels)
    check = Verb(calls.check_labels)
    list = Listing(calls.labels)


class Calibrations(Resource[ModeT]):
    """Certificates; to wait for one there is `wait_for_calibration` of the client."""

    create = Verb(calls.create_calibration)
    retrieve = Verb(calls.calibration)
    list = Listing(calls.calibrations)
    revoke = Verb(calls.revoke_calibration)
    known_prompts = Verb(calls.known_prompts)


class Judgments(Resource[ModeT]):
    """Verdicts on posted pairs, and those that are stored."""

    create = Verb(calls.judge)
    list = Listing(calls.verdicts)


class Batches(Resource[ModeT]):
    """Batches; to wait for one there is `wait` of the client, and `batch_results`."""

    create = Verb(calls.create_batch)
    retrieve = Verb(calls.batch)
    list = Listing(calls.batches)
    cancel = Verb(calls.cancel_batch)
    retry = Verb(calls.retry_batch)


class Leaderboards(Resource[ModeT]):
    """Leaderboards, which are kept."""

    create = Verb(calls.leaderboard)
    retrieve = Verb(calls.stored_leaderboard)
    list = Listing(calls.leaderboards)


class Reports(Resource[ModeT]):
    """Agreement reports, which are kept; they are made by `report` of the client."""

    retrieve = Verb(calls.stored_report)
    list = Listing(calls.reports)


class Judges(Resource[ModeT]):
    """The configured judges."""

    list = Listing(calls.judges)


class Cascades(Resource[ModeT]):
    """The configured cascades."""

    list = Listing(calls.cascades)


class Verbs(Performs[ModeT]):
    """What both clients offer."""

    create_calibration = Verb(calls.create_calibration)
    calibration = Verb(calls.calibration)
    plan = Verb(calls.plan)
    experiment = Verb(calls.experiment)
    canaries = Verb(calls.canaries)
    judge = Verb(calls.judge)
    create_batch = Verb(calls.create_batch)
    batch = Verb(calls.batch)
    retry_batch = Verb(calls.retry_batch)
    leaderboard = Verb(calls.leaderboard)
    get = Verb(calls.get)
    post = Verb(calls.post)

    @cached_property
    def datasets(self) -> Datasets[ModeT]:
        """What was imported."""
        return Datasets(self)

    @cached_property
    def labels(self) -> Labels[ModeT]:
        """What people said."""
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
    def leaderboards(self) -> Leaderboards[ModeT]:
        """Leaderboards."""
        return Leaderboards(self)

    @cached_property
    def reports(self) -> Reports[ModeT]:
        """Agreement reports."""
        return Reports(self)

    @cached_property
    def judges(self) -> Judges[ModeT]:
        """Configured judges."""
        return Judges(self)

    @cached_property
    def cascades(self) -> Cascades[ModeT]:
        """Configured cascades."""
        return Cascades(self)
