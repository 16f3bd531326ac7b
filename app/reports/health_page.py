"""The health card as one page of HTML that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

Figures = Mapping[str, Any]

WORDS: Final = {
    "pass": "passed", "fail": "failed", "not_enough_evidence": "not enough evidence",
}  # fmt: skip
# of a plot, in its own units
_WIDTH, _HEIGHT, _LEFT, _TOP = 300.0, 190.0, 46.0, 8.0
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - 8, _HEIGHT - _TOP - 30
# of the little picture of a line and an interval
_STRIP = 150.0
_MOST_ANNOTATORS: Final = 10


class Point(NamedTuple):
    """A point of a plot with the ends of its interval, in the plot's units."""

    x: float
    y: float
    low: float
    high: float
    title: str


class Axis(NamedTuple):
    """The two ends of one axis of a plot."""

    first: float
    last: float

    def share(self, value: float) -> float:
        """Return the position of a value between the ends, as a share clipped to [0, 1]."""
        return min(max((value - self.first) / (self.last - self.first), 0.0), 1.0)

    @property
    def ticks(self) -> list[float]:
        """Return five values from end to end."""
        return [self.first + (self.last - self.first) * step / 4 for step in range(5)]


class Plot(NamedTuple):
    """Points with axes; `diagonal` is drawn where both axes mean the same.

    `labels` name what is across and what is up; `meaning` says how to read the whole.
    """

    name: str
    meaning: str
    across: Axis
    up: Axis
    points: list[Point]
    labels: tuple[str, str]
    diagonal: tuple[float, float, float, float] | None

    def x(self, value: float) -> float:
        """Return the place of a value from left to right."""
        return _LEFT + _INNER_WIDTH * self.across.share(value)

    def y(self, value: float) -> float:
        """Return the place of a value from top to bottom."""
        return _TOP + _INNER_HEIGHT * (1 - self.up.share(value))


def health_page(card: Figures) -> str:
    """Return the page of a card as `app.reports.health` makes it, with what it rests on."""
    figures = card["figures"]
    return _template().render(
        card=card,
        judge=figures,
        confusion=confusion_rows(figures),
        lines=[{**line, "strip": _strip(line)} for line in card["lines"]],
        words=WORDS,
        plots=[
            plot
            for plot in (_reliability(figures["reliability"]), _risk(figures["risk_coverage"]))
            if plot.points
        ],
        size={"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "top": _TOP,
              "inner_width": _INNER_WIDTH, "inner_height": _INNER_HEIGHT, "strip": _STRIP},
        annotators=figures["alternative_annotator"].get("annotators", [])[:_MOST_ANNOTATORS],
    )  # fmt: skip


def confusion_rows(figures: Figures) -> dict[str, Mapping[str, int]]:
    """Return what was said of what people said, pairs without a majority in a row of their own.

    Reports of earlier versions do not tell these from ties.
    """
    rows, open_ = dict(figures["confusion"]), figures.get("no_plurality")
    if open_ is not None:
        rows["tie"] = {said: n - open_[said] for said, n in rows["tie"].items()}
        rows["no majority"] = open_
    return rows


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "short": _short}
    return environment.get_template("health_card.html")


def number(value: float | None) -> str:
    """Format a number with three decimals, None as a dash."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _short(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def interval(estimate: Figures) -> str:
    """Return the ends of an interval, or a dash."""
    if estimate["low"] is None:
        return "–"
    return f"{number(estimate['low'])} to {number(estimate['high'])}"


def _reliability(found: Figures) -> Plot:
    """Plot agreement against confidence, bin by bin."""
    bins = [one for one in found["bins"] if one["n"]]
    first = 0.0 if any(one["low"] < 0.5 for one in bins) else 0.5
    plot = Plot(
        "Reliability", "On the dashed line the judge agrees as often as it is confident.",
        Axis(first, 1.0), Axis(0.0, 1.0), [],
        ("confidence of the judge", "share that agrees with people"), None,
    )  # fmt: skip
    ends = (plot.x(first), plot.y(first), plot.x(1.0), plot.y(1.0))
    points = [_point(plot, one["mean_confidence"], one["accuracy"]) for one in bins]
    return plot._replace(points=points, diagonal=ends)


def _risk(found: Figures) -> Plot:
    """Plot the disagreement of verdicts against the share of pairs that get one."""
    points: Sequence[Figures] = [one for one in found["points"] if one["risk"]["n"]]
    highest = max([0.0, *(one["risk"]["value"] for one in points)])
    top = next(end for end in (0.1, 0.2, 0.4, 0.8, 1.0) if end >= min(1.0, 1.3 * highest))
    plot = Plot(
        "Risk and coverage", "If only its most confident verdicts were given.",
        Axis(0.0, 1.0), Axis(0.0, top), [],
        ("share of pairs answered (coverage)", "share that disagrees with people"), None,
    )  # fmt: skip
    return plot._replace(points=[_point(plot, one["coverage"], one["risk"]) for one in points])


def _point(plot: Plot, x: float, estimate: Figures) -> Point:
    value = estimate["value"]
    low, high = (value if estimate[end] is None else estimate[end] for end in ("low", "high"))
    title = f"{number(x)}: {number(value)} ({number(low)} to {number(high)}), n {estimate['n']}"
    return Point(plot.x(x), plot.y(value), plot.y(low), plot.y(high), title)


def _strip(line: Figures) -> dict[str, Any]:
    """Place a figure, its interval and its line on a strip; negative scales have 0 inside."""
    figure = line["figure"]
    scale = _scale(line)
    place = {
        end: None if figure[end] is None else _STRIP * scale.share(figure[end])
        for end in ("value", "low", "high")
    }
    edges = (-line["line"], line["line"]) if line["sense"] == "within" else (line["line"],)
    return {**place, "edges": [_STRIP * scale.share(edge) for edge in edges]}


def _scale(line: Figures) -> Axis:
    """Return an axis that holds line and figure: around 0 for signed figures, else from 0."""
    is_signed = line["sense"] == "within" or line["name"].endswith("_difference")
    if not is_signed:
        is_small = line["sense"] == "at_most"
        seen = [line["line"], line["figure"]["high"] or 0.0]
        return Axis(0.0, min(1.0, 1.5 * max(seen)) or 1.0) if is_small else Axis(0.0, 1.0)
    ends = [abs(line["figure"][end] or 0.0) for end in ("low", "high")]
    reach = min(1.0, 1.2 * max(0.1, abs(line["line"]), *ends))
    return Axis(-reach, reach)
