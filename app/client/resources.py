"""The methods that both clients share, in groups and on the client itself."""

from __future__ import annotations

from functools import cached_property

from app.client import requests
from app.client.requests import Listing, ModeT, Performs, Resource, Verb


class Datasets(Resource[ModeT]):
    """Datasets; the client's `import_dataset` imports them."""

    list = Listing(requests.datasets)
    retrieve = Verb(requests.dataset)
    pairs = Listing(requests.pairs)
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
    revoke = Verb(requests.revoke_calibration)
    known_prompts = Verb(requests.known_prompts)


class Judgments(Resource[ModeT]):
    """Verdicts on posted pairs, and stored ones."""

    create = Verb(requests.judge)
    list = Listing(requests.verdicts)


class Batches(Resource[ModeT]):
    """Batches; the client's `wait` waits for one, and `batch_results` returns its verdicts."""

    create = Verb(requests.create_batch)
    retrieve = Verb(requests.batch)
    list = Listing(requests.batches)
    cancel = Verb(requests.cancel_batch)
    retry = Verb(requests.retry_batch)


class Leaderboards(Resource[ModeT]):
    """Leaderboards; the service stores each."""

    create = Verb(requests.leaderboard)
    retrieve = Verb(requests.stored_leaderboard)
    list = Listing(requests.leaderboards)


class Reports(Resource[ModeT]):
    """Agreement reports; the client's `report` makes them, and the service stores each."""

    retrieve = Verb(requests.stored_report)
    list = Listing(requests.reports)


class Judges(Resource[ModeT]):
    """The configured judges."""

    list = Listing(requests.judges)


class Cascades(Resource[ModeT]):
    """The configured cascades."""

    list = Listing(requests.cascades)


class Verbs(Performs[ModeT]):
    """The methods of both clients."""

    create_calibration = Verb(requests.create_calibration)
    calibration = Verb(requests.calibration)
    plan = Verb(requests.plan)
    experiment = Verb(requests.experiment)
    canaries = Verb(requests.canaries)
    judge = Verb(requests.judge)
    create_batch = Verb(requests.create_batch)
    batch = Verb(requests.batch)
    retry_batch = Verb(requests.retry_batch)
    leaderboard = Verb(requests.leaderboard)
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
