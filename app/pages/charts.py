"""Charts as SVG text, drawn without any state: they print, mail, and go dark by style sheet.

Every chart has a title and a description for those who do not see it. Positions are attributes, and
colours come from classes, so that no chart needs an inline style.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any, Final

from markupsafe import Markup, escape

Figures = Mapping[str, Any]
Extent = tuple[float, float]
_LEFT: Final = 46.0
_TOP: Final = 24.0
_RIGHT: Final = 12.0
_BOTTOM: Final = 42.0


def _text(x: float, y: float, words: object, kind: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, kind, words)


def _line(one: Extent, other: Extent, kind: str) -> Markup:
    return Markup(
        '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>'
    ).format(*one, *other, kind)  # fmt: skip


def _dot(at: Extent, radius: float, kind: str, words: str, number: int | None = None) -> Markup:
    # a slider over nodes finds the dot of a node by its number
    numbered = Markup("") if number is None else Markup(' data-dot="{}"').format(number)
    return Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" class="{}"{}><title>{}</title></circle>'
    ).format(*at, radius, kind, numbered, words)


def _path(points: Iterable[Extent], kind: str, *, closed: bool = False) -> Markup:
    there = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Markup('<path d="M{}{}" class="{}"/>').format(there, " Z" if closed else "", kind)


def _svg(size: Extent, title: str, meaning: str, parts: Iterable[Markup], kind: str = "") -> Markup:
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" '
        'aria-label="{}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(kind, *size, *size, f"{title}. {meaning}", title, meaning, Markup("").join(parts))


def percent(value: float) -> str:
    """Return a share for a label of an axis."""
    return f"{100 * value:.3g} %".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Frame:
    """Two axes: what is across and what is up, and the range of each."""

    across: tuple[str, float, float]
    up: tuple[str, float, float]
    width: float = 460.0
    height: float = 280.0

    def at(self, x: float, y: float) -> Extent:
        """Return the place of a point; one outside lies on the edge."""
        (_, left, right), (_, bottom, top) = self.across, self.up
        share_x = min(max((x - left) / (right - left), 0.0), 1.0)
        share_y = min(max((y - bottom) / (top - bottom), 0.0), 1.0)
        return (
            _LEFT + share_x * (self.width - _LEFT - _RIGHT),
            self.height - _BOTTOM - share_y * (self.height - _TOP - _BOTTOM),
        )

    def axes(self) -> list[Markup]:
        """Return grid, numbers and names of both axes."""
        (x_name, left, right), (y_name, bottom, top) = self.across, self.up
        parts: list[Markup] = []
        for y in _ticks(bottom, top):
            parts += [
                _line(self.at(left, y), self.at(right, y), "grid"),
                _text(_LEFT - 6, self.at(left, y)[1] + 4, percent(y), "tick end"),
            ]
        for x in _ticks(left, right):
            place = self.at(x, bottom)[0]
            parts.append(_text(place, self.height - _BOTTOM + 19, percent(x), "tick mid"))
        middle = (_LEFT + self.width - _RIGHT) / 2
        parts.append(_text(middle, self.height - 4, x_name, "axis mid"))
        # names of upright axes stand above them, where they can be read without turning
        parts.append(_text(_LEFT, _TOP - 10, y_name, "axis"))
        return parts

    def drawn(self, title: str, meaning: str, parts: Sequence[Markup]) -> Markup:
        """Return the chart."""
        return _svg((self.width, self.height), title, meaning, [*self.axes(), *parts])


def _ticks(low: float, high: float) -> list[float]:
    """Return round shares from low to high, both ends if they are round, at most six."""
    steps = [one for one in (0.01, 0.02, 0.025, 0.05, 0.1, 0.2) if (high - low) / one < 5.001]
    fits = (one for one in steps if all(abs(v / one - round(v / one)) < 1e-6 for v in (low, high)))
    step = next(fits, steps[0])
    first, last = ceil(low / step - 1e-6), floor(high / step + 1e-6)
    return [round(number * step, 4) for number in range(first, last + 1)]


def _range(values: Iterable[float], least_span: float = 0.05) -> Extent:
    """Return a range of shares around values, in steps of five percent."""
    seen = list(values) or [0.0, 1.0]
    low = max(0.0, int((min(seen) - 0.02) * 20) / 20)
    high = min(1.0, -int(-(max(seen) + 0.02) * 20) / 20)
    return (low, high) if high - low >= least_span else (max(0.0, high - 0.1), high)


def frontier(nodes: Sequence[Figures], target: float, chosen: int | None) -> Markup:
    """Draw agreement against coverage at the nodes of a certificate or plan.

    The band reaches from the bound that is proven to the agreement that was seen.

    Args:
        nodes: Each with `coverage`, `agreement` and `bound` (either may be None) and `title`.
        target: The agreement that was asked for, drawn as a line.
        chosen: The number of the node that is certified, None if none is.

    Returns:
        The chart; nothing where no node answers any pair.
    """
    known = [one for one in nodes if one["coverage"] is not None and one["agreement"] is not None]
    if not known:
        return Markup("")
    levels = [target, *(v for one in known for v in (one["agreement"], one["bound"] or target))]
    frame = Frame(
        ("coverage: share of the tested pairs answered", 0.0, 1.0), ("agreement", *_range(levels))
    )
    ordered = sorted(known, key=lambda one: one["coverage"])
    seen = [frame.at(one["coverage"], one["agreement"]) for one in ordered]
    proven = [frame.at(one["coverage"], one["bound"]) for one in ordered if one["bound"]]
    parts = [
        _line(frame.at(0, target), frame.at(1, target), "target"),
        _text(_LEFT + 4, frame.at(0, target)[1] - 4, f"target {percent(target)}", "note"),
    ]  # fmt: skip
    if len(seen) > 1 and len(proven) == len(seen):
        parts += [_path([*seen, *reversed(proven)], "band", closed=True), _path(seen, "curve")]
    for number, one in enumerate(nodes):
        if one not in known:
            continue
        at = frame.at(one["coverage"], one["agreement"])
        if one["bound"] is not None:
            parts.append(_line(at, frame.at(one["coverage"], one["bound"]), "whisker"))
        is_it = number == chosen
        kind = "dot chosen" if is_it else "dot"
        parts.append(_dot(at, 5 if is_it else 3.5, kind, one["title"], number))
    return frame.drawn(
        "Agreement and coverage",
        "Each point is a set of thresholds; the line below it ends at the agreement that is proven.",
        parts,
    )


def reliability(bins: Sequence[Figures]) -> Markup:
    """Draw agreement against confidence, bin by bin, with intervals."""
    seen = [one for one in bins if one["n"] and one["accuracy"]["value"] is not None]
    first = 0.0 if any(one["low"] < 0.5 for one in seen) else 0.5
    frame = Frame(("confidence", first, 1.0), ("agrees with people", 0.0, 1.0))
    parts = [_line(frame.at(first, first), frame.at(1, 1), "diagonal")]
    for one in seen:
        title = f"confidence {percent(one['mean_confidence'])}: agrees {percent(one['accuracy']['value'])}, n {one['n']}"
        parts += _estimate(frame, one["mean_confidence"], one["accuracy"], title)
    meaning = "On the dashed line the judge agrees as often as it is confident."
    return frame.drawn("Reliability", meaning, parts)


def risk_coverage(points: Sequence[Figures], certified: Figures | None = None) -> Markup:
    """Draw the disagreement of the most confident verdicts against their share, with its band.

    Args:
        points: Each with its `coverage` and `risk`, an estimate.
        certified: `coverage`, `risk` and perhaps `upper_bound` of a certificate, marked as a point.
    """
    seen = [one for one in points if one["risk"]["n"] and one["risk"]["value"] is not None]
    tops = [one["risk"]["high"] or one["risk"]["value"] for one in seen]
    if certified is not None:
        tops += [certified["risk"], certified["upper_bound"] or 0.0]
    highest = max([0.1, *tops])
    top = next(end for end in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if end >= min(highest, 1.0))
    frame = Frame(("coverage: share answered", 0.0, 1.0), ("disagrees with people", 0.0, top))
    parts = []
    high = [
        frame.at(p["coverage"], p["risk"]["high"]) for p in seen if p["risk"]["high"] is not None
    ]
    low = [frame.at(p["coverage"], p["risk"]["low"]) for p in seen if p["risk"]["low"] is not None]
    if len(high) > 1 and len(low) > 1:
        parts.append(_path([*high, *reversed(low)], "band", closed=True))
    line = [frame.at(p["coverage"], p["risk"]["value"]) for p in seen]
    if len(line) > 1:
        parts.append(_path(line, "curve"))
    parts += [
        _dot(at, 2.5, "dot", f"at {percent(p['coverage'])}: {percent(p['risk']['value'])} disagree")
        for at, p in zip(line, seen, strict=True)
    ]
    if certified is not None:
        at, bound = (certified["coverage"], certified["risk"]), certified["upper_bound"]
        words = f"certified: answers {percent(at[0])}, {percent(at[1])} disagree"
        if bound is not None:
            words += f", proven at most {percent(bound)}"
            parts.append(_line(frame.at(*at), frame.at(at[0], bound), "target"))
        parts.append(_dot(frame.at(*at), 5, "dot chosen", words))
    meaning = "How the share of wrong answers rises as less confident verdicts are given, too."
    return frame.drawn("Risk and coverage", meaning, parts)


def series(points: Sequence[tuple[str, Figures]], name: str) -> Markup:
    """Draw an estimate over time: equal steps, oldest first; the words say when."""
    # the ends of the intervals are drawn, too
    values = [p[k] for _, p in points for k in ("low", "value", "high") if p[k] is not None]
    frame = Frame(("reports, oldest first", 0.0, 1.0), (name, *_range(values, 0.1)), 460.0, 220.0)
    last = max(len(points) - 1, 1)
    parts: list[Markup] = []
    places = []
    for number, (words, estimate) in enumerate(points):
        if estimate["value"] is not None:
            x = 0.05 + 0.9 * number / last if len(points) > 1 else 0.5
            parts += _estimate(frame, x, estimate, f"{words}: {percent(estimate['value'])}")
            places.append(frame.at(x, estimate["value"]))
    if len(places) > 1:
        parts.insert(0, _path(places, "curve"))
    size = (frame.width, frame.height)
    grid = [part for part in frame.axes() if "tick mid" not in part]
    return _svg(size, f"{name} over time", "One point a report, with its interval.", [*grid, *parts])  # fmt: skip


def _power(power: int) -> str:
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10.0**power:g}" if -3 < power < 5 else f"10{raised}"


def evidence(history: Sequence[Figures], level: float) -> Markup:
    """Draw the evidence of a monitor audit by audit, in powers of ten, and the level of its alarm."""
    powers = [(one["audits"], log10(max(one["e_value"], 1e-3))) for one in history]
    low = min(0.0, *(power for _, power in powers))
    high = max(log10(level), *(power for _, power in powers)) + 0.2
    frame = Frame(("audits", 0.0, float(powers[-1][0])), ("evidence", low, high), 460.0, 220.0)
    places = [frame.at(0, 0.0), *(frame.at(audits, power) for audits, power in powers)]
    alarm = frame.at(0, log10(level))
    name = _text(frame.width - _RIGHT, alarm[1] - 4, f"alarm at {level:g}", "note end")
    ticks = [
        part
        for power in range(floor(low), ceil(high) + 1, ceil((high - low) / 7))
        if low <= power <= high
        for part in (
            _line(frame.at(0, power), (frame.width - _RIGHT, frame.at(0, power)[1]), "grid"),
            _text(_LEFT - 6, frame.at(0, power)[1] + 4, _power(power), "tick end"),
        )
    ]
    ends = [
        _text(_LEFT, frame.height - _BOTTOM + 19, "0", "tick mid"),
        _text(places[-1][0], frame.height - _BOTTOM + 19, f"{powers[-1][0]:,}", "tick end"),
        _text((_LEFT + frame.width - _RIGHT) / 2, frame.height - 4, "audits", "axis mid"),
        _text(_LEFT, _TOP - 10, "evidence against the promise", "axis"),
    ]
    line = _line(alarm, (frame.width - _RIGHT, alarm[1]), "target")
    last = f"after {powers[-1][0]:,} audits: {history[-1]['e_value']:.3g}"
    parts = [*ticks, *ends, line, name, _path(places, "curve"), _dot(places[-1], 3.5, "dot", last)]
    meaning = f"It is {history[-1]['e_value']:.3g} now; the alarm is raised at {level:g}."
    return _svg((frame.width, frame.height), "Evidence against the promise", meaning, parts)


def _estimate(frame: Frame, x: float, estimate: Figures, title: str) -> list[Markup]:
    at = frame.at(x, estimate["value"])
    found = []
    if estimate["low"] is not None:
        ends = (frame.at(x, estimate["low"]), frame.at(x, estimate["high"]))
        found.append(_line(*ends, "whisker"))
    return [*found, _dot(at, 3.5, "dot", title)]


def whisker(estimate: Figures, extent: Extent, words: str) -> Markup:
    """Draw an estimate and its interval on a strip, for a row of a table."""
    width, height = 200.0, 18.0
    low, high = extent
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 6 + (width - 12) * min(max((value - low) / span, 0.0), 1.0)

    parts = [_line((6, height / 2), (width - 6, height / 2), "grid")]
    if low < 0 < high:
        parts.append(_line((place(0), 2), (place(0), height - 2), "diagonal"))
    if estimate["low"] is not None:
        ends = ((place(estimate["low"]), height / 2), (place(estimate["high"]), height / 2))
        parts.append(_line(*ends, "whisker thick"))
    if estimate["value"] is not None:
        parts.append(_dot((place(estimate["value"]), height / 2), 4, "dot", words))
    return _svg((width, height), words, "Point and interval.", parts, "strip")


def extent_of(estimates: Iterable[Figures]) -> Extent:
    """Return the range that holds every estimate with its interval."""
    ends = [e[k] for e in estimates for k in ("low", "value", "high") if e[k] is not None]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def annotators(
    rows: Sequence[Sequence[float | None]], threshold: float | None, words: str
) -> Markup:
    """Draw what a judge's simulated annotators said in both orders: a dot each, from B to A.

    Args:
        rows: For each annotator its p_a with A shown first and with A shown second.
        threshold: The confidence from which the judge answers; drawn on both sides.
        words: What the strip says, for those who do not see it.
    """
    width, height = 260.0, 40.0

    def place(p: float) -> float:
        return 8 + (width - 16) * p

    parts = [
        _line((place(0), 20), (place(1), 20), "grid"),
        _line((place(0.5), 4), (place(0.5), 36), "diagonal"),
    ]
    if threshold is not None and 0.5 <= threshold <= 1:
        for edge in (threshold, 1 - threshold):
            parts.append(_line((place(edge), 2), (place(edge), 38), "target"))
    for number, row in enumerate(rows):
        shown = [(p, order) for order, p in enumerate(row[:2]) if p is not None]
        for p, order in shown:
            title = f"annotator {number + 1}, A shown {'second' if order else 'first'}: {p:.2f}"
            y = 27.0 if order else 13.0
            parts.append(_dot((place(p), y), 3.5, "dot second" if order else "dot", title))
    return _svg((width, height), words, "Left is B, right is A, the middle undecided.", parts, "strip")  # fmt: skip


def shares(composition: Sequence[tuple[str, float]], title: str) -> Markup:
    """Draw shares of a whole as one bar; what is left is unanswered."""
    width, height = 460.0, 30.0
    places = [0.0]
    for _, share in composition:
        places.append(min(1.0, places[-1] + share))
    parts = [_bar(0, width, "rest", "abstains")]
    for number, ((name, share), (left, right)) in enumerate(
        zip(composition, pairwise(places), strict=True)
    ):
        if right > left:
            words = f"{name}: {percent(share)}"
            parts.append(_bar(width * left, width * (right - left), f"share-{number % 6}", words))
    return _svg((width, height), title, "Shares of all pairs.", parts, "shares")


def _bar(x: float, width: float, kind: str, words: str) -> Markup:
    return Markup(
        '<rect x="{:.1f}" y="4" width="{:.1f}" height="22" class="{}"><title>{}</title></rect>'
    ).format(x, width, kind, escape(words))


def heat(share: float | None) -> str:
    """Return the class of a cell's shade: 0 to 10, from low to high."""
    return "heat" if share is None else f"heat heat-{round(10 * min(max(share, 0.0), 1.0))}"
