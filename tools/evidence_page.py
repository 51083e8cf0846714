"""The evidence page: a sortable table of all verdicts with their intervals drawn, and a picture of all of them."""

import html
import math

import guard  # noqa: F401  puts this checkout's helpers first
from publish import css_class, place

from utils.evidence.cards import UNRECORDED
from utils.evidence.claims import WORDS
from utils.evidence.statistics import expected_errors

FARTHEST = 100.0  # times the smallest effect that matters; what lies farther is drawn as an arrow
WIDTH, HEIGHT = 200, 14  # of the drawing of one condition


def relative(effect, claim):
    """How far an effect is on the claim's side of the smallest one that matters, in multiples of that; 0 at it."""
    sign = 1 if claim.direction == "at least" else -1
    return sign * (effect - claim.smallest) / (abs(claim.smallest) or 1.0)


def position(value):
    """Where a relative effect is drawn: 0 at the left end, 1 at the right, with room for those that are far apart."""
    inside = min(max(value, -FARTHEST), FARTHEST)
    return 0.5 + 0.5 * math.asinh(4 * inside) / math.asinh(4 * FARTHEST)


def _x(value, width):
    """Where a relative effect is drawn, with room for arrows at both ends."""
    return 12 + (width - 24) * position(value)


def _bar(part, claim, y, width):
    """The interval and the median of one condition, as SVG."""
    ends = sorted(relative(part[key], claim) for key in ("low", "high"))
    left, right = (_x(end, width) for end in ends)
    middle = _x(relative(part["median"], claim), width)
    arrows = ""
    if ends[0] < -FARTHEST:
        arrows += f'<path d="M{left - 9:.1f} {y} l7 -4 v8 z"/>'
    if ends[1] > FARTHEST:
        arrows += f'<path d="M{right + 9:.1f} {y} l-7 -4 v8 z"/>'
    return (
        f'<g class="{css_class(part["word"])}"><line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
        f'<circle cx="{middle:.1f}" cy="{y}" r="3.5"/>{arrows}</g>'
    )


def drawing(found):
    """The intervals of one claim as an inline SVG, with a text for those who cannot see it."""
    height = HEIGHT * len(found.parts)
    bars = "".join(_bar(part, found.claim, HEIGHT * i + HEIGHT // 2, WIDTH) for i, part in enumerate(found.parts))
    alt = "; ".join(in_words(part, found) for part in found.parts)
    return (
        f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{html.escape(alt)}"><line class="threshold" x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="0" '
        f'y2="{height}"/>{bars}</svg>'
    )


def _number(x):
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    text = f"{x:.3g}" if abs(x) < 999.5 else f"{x:,.0f}".replace(",", " ")
    return text.replace("-", "−")


def in_words(part, found):
    """The same numbers as a sentence."""
    label = f"{part['condition']}: " if "condition" in part else ""
    if found.is_identity:
        return f"{label}error {part['median']:.1e} {found.claim.unit}"
    low, high = _number(part["low"]), _number(part["high"])
    said = f"{label}median {_number(part['median'])}, interval {low} to {high} {found.claim.unit}"
    return f"{said}, {part['n']} seeds: {part['word']}"


def _folded(summary, *paragraphs):
    """Text behind a mark."""
    inside = "".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    return f'<details class="source"><summary>{html.escape(summary)}</summary>{inside}</details>'


def _said_openly(found):
    """The setting, what was changed after a run, the rules that are not kept, and what could not be judged."""
    if found.claim.setting:
        yield _folded("setting", found.claim.setting)
    if found.claim.changed:
        yield _folded("changed after a run", found.claim.changed)
    for rule, reason in found.card.get("waived", {}).items():
        yield _folded(f"a rule is not kept: {rule}", reason)
    if missing := [f"{part['condition']}: {part['reason']}" for part in found.parts if part.get("reason")]:
        yield _folded(f"not judged: {len(missing)} of {len(found.parts)}", *missing)


def _row(found):
    """One row of the table."""
    claim, escape = found.claim, html.escape
    verdict, conclusion = found.word, claim.conclusion.get(found.word)
    said = f"<p><b>{escape(conclusion)}</b></p>" if conclusion else ""
    words = "<br>".join(escape(in_words(part, found)) for part in found.parts)
    if found.is_identity:
        bound = f"an identity, tolerance {claim.smallest:.0e}"
        drawn = '<span class="identity">exact identity</span>'
        rank = -1.0 if verdict == "fails" else 1.0
    else:
        bound = f"needs {claim.direction} {_number(claim.smallest)}"
        drawn = drawing(found)
        rank = min(relative(part["median"], claim) for part in found.parts)
    return (
        f'<tr role="row" id="row-{claim.id}"><td role="cell" class="claim">{said}<p>{escape(claim.statement)}</p>'
        f'<p class="source">“{escape(claim.quote)}” — {escape(claim.source)}</p>'
        f'<p class="source">Predicted: {escape(claim.prediction)}</p>{"".join(_said_openly(found))}</td>'
        f'<td role="cell"><span class="verdict {css_class(verdict)}">{escape(verdict)}</span></td>'
        f'<td role="cell" data-value="{rank:.6g}">{drawn}<details><summary>{escape(bound)}</summary>'
        f"{words}</details></td>"
        f'<td role="cell" data-value="{found.stem[:2]}"><a href="{place(claim)}" '
        f'aria-label="cell in {found.place} that judges: {escape(claim.statement)}">'
        f"cell in {found.place}</a></td></tr>"
    )


def table(verdicts):
    """All verdicts as a table that the page's script makes sortable."""
    # The roles are those that the elements have; where a phone lays rows out as blocks, browsers forget them.
    heads = ("claim", "verdict", "effect against what matters", "judged in")
    head = "".join(f'<th role="columnheader" scope="col">{name}</th>' for name in heads)
    rows = "\n".join(_row(found) for found in verdicts)
    return (
        '<div class="scrolled" role="region" aria-label="Table of verdicts" tabindex="0">\n'
        '<table role="table" class="evidence sortable table">\n<thead role="rowgroup">'
        f'<tr role="row">{head}</tr></thead>\n<tbody role="rowgroup">\n{rows}\n</tbody>\n'
        "</table>\n</div>"
    )


def picture(verdicts):
    """All intervals in one SVG: a line per condition, a band with its own scale per notebook; identities have none."""
    margin, width, pitch, y, drawn = 24, 620, 7, 0, []
    places = [(label, _x(value, width)) for label, value in _TICKS]
    drawable = [found for found in verdicts if not found.is_identity]
    for stem in dict.fromkeys(found.stem for found in drawable):
        y += 8 * pitch
        names = "".join(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{label}</text>' for label, x in places)
        drawn.append(f'<text class="lesson" x="{-margin}" y="{y - 3 * pitch}">lesson {stem[:2]}</text>{names}')
        y += 2 * pitch
        for claim, part in [(found.claim, part) for found in drawable if found.stem == stem for part in found.parts]:
            drawn.append(_bar(part, claim, y, width))
            y += pitch
    ticks = "".join(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y}"/>' for _, x in places)
    counts = ", ".join(f"{n} {word}" for word, n in _counts(verdicts).items())
    alt = (
        "Medians and intervals of all claims that are not identities, a line for each condition, relative to the "
        "smallest effect that matters: right of the middle the claim holds, left of it it does not. In all "
        f"{counts}."
    )
    return (
        f'<svg class="forest forest-all" viewBox="{-margin} 0 {width + margin} {y}" role="img" aria-label="{alt}">'
        f"{ticks}{''.join(drawn)}</svg>"
    )


_TICKS = (("−100", -100), ("−10", -10), ("−1", -1), ("what matters", 0), ("+1", 1), ("+10", 10), ("+100", 100))


def _counts(verdicts):
    """How many claims have which word."""
    words = [found.word for found in verdicts]
    return {word: words.count(word) for word in (*WORDS, UNRECORDED)}


def tally(verdicts):
    """How many verdicts there are of each kind, as HTML."""
    counts = _counts(verdicts)
    items = (f'<li class="verdict {css_class(word)}"><b>{n}</b> {word}</li>' for word, n in counts.items())
    rule = "claims are judged on two budgets and two data sets or settings, by the record of a long run:"
    return f'<p>{len(verdicts)} {rule}</p><ul class="tally">{"".join(items)}</ul>'


def luck(verdicts):
    """How many conditions one must expect to be on the wrong side by chance, in a sentence."""
    parts = [part for found in verdicts if not found.is_identity for part in found.parts]
    decided = [(part["n"], part["word"]) for part in parts]
    number = sum(word in ("holds", "fails") for _, word in decided)
    return (
        f"An interval rests on a few seeds, so chance alone can push all of it to the wrong side of what matters. Of "
        f"the {number} intervals here that lie on one side, one must expect up to {expected_errors(decided):.1f} to be "
        f"on the wrong one, even if every experiment is right, and nobody knows which ones."
    )


def retired_list(retired):
    """The claims that went, as HTML; links to their rows land here."""
    items = "".join(
        f'<li id="row-{claim.id}"><p>{html.escape(claim.statement)}</p><p>{html.escape(claim.reason)}</p></li>'
        for claim in retired.values()
    )
    return f"<ul>{items}</ul>" if items else "<p>No claim has been retired so far.</p>"
