"""Errors of making and asking judges.

    JudgeError
    +-- JudgeConfigurationInvalid   a judge or cascade is described wrongly; names the key
    |   +-- ExamplesInsufficient    too few labelled pairs for the few-shot examples asked for
    +-- JudgeUnavailable            the judge as a whole cannot answer now (not a single pair)
    +-- RecordInvalid               a recorded score or a label cannot be read; names the field

A judge that fails on one pair does not raise: it returns a `Score` whose `failure` is a
`JudgeFailure`, because a failure is data that must be stored, counted and escalated.
"""

from __future__ import annotations


class JudgeError(Exception):
    """Any error of this package."""


class JudgeConfigurationInvalid(JudgeError, ValueError):
    """A judge or a cascade is described wrongly; the message names the key."""


class JudgeUnavailable(JudgeError):
    """The judge cannot answer at all at the moment."""


class ExamplesInsufficient(JudgeConfigurationInvalid):
    """The labelled pairs are too few, or of too few groups, for the examples asked for."""


class RecordInvalid(JudgeError, ValueError):
    """A recorded score or a label cannot be read; the message begins with the field's path."""
