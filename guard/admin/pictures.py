"""Pictures of a case as SVG, which a page holds inline; what they show stands in its text too.

Each name in one is escaped. A picture has the colours of the page around it, by the classes of its parts.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guard.admin import Case
    from guard.admin.suspicion import Suspicion

WIDTH = 720
ROW = 34
HUB = 370
DOTS_LEFT = 480
DOTS_A_LINE = 15
MOST_DOTS = 60
MOST_BLOCKS = 8
MOST_TIES = 12
NO_POOL = "held in no pool"


def ties_and_members(case: Case) -> str:
    """What members have in common on the left, thicker where it is less probable; on the right the members,
    by their pools, fainter where they are less sure.
    """
    ties = sorted(case.campaign.ties, key=lambda tie: -tie.decibans)[:MOST_TIES]
    blocks = _blocks(case)
    tops = _tops(blocks)
    height = max(len(ties) * ROW, tops[-1], 2 * ROW) + 10
    middle = height / 2
    parts, offset = [], middle - len(ties) * ROW / 2
    for number, tie in enumerate(ties):
        y = offset + (number + 0.5) * ROW
        width = min(10.0, 1 + max(0.0, tie.decibans) / 6)
        parts.append(_curve(250, y, HUB - 30, middle, width))
        parts.append(f'<rect class="box" x="1" y="{y - 14:.1f}" width="250" height="28" rx="6"/>')
        parts.append(_text(12, y + 4, tie.kind, "name"))
        parts.append(_text(150, y + 4, f"{tie.decibans:.1f} dB", "end"))
        parts.append(_text(240, y + 4, words.counted(tie.members, "member"), "end"))
    offset = middle - tops[-1] / 2
    for (pool, members), top in zip(blocks, tops, strict=False):
        parts.append(_curve(HUB + 30, middle, DOTS_LEFT - 8, offset + top + 12, 1.5))
        told = f"{_cut(pool, 20)}: {words.counted(len(members), 'member')}"
        parts.append(_text(DOTS_LEFT, offset + top + 16, told, "name"))
        parts += _dots(members, offset + top + 32)
    parts.append(f'<circle class="hub" cx="{HUB}" cy="{middle:.1f}" r="32"/>')
    parts.append(_text(HUB, middle + 4, _cut(case.campaign.id, 8), "middle"))
    return _svg(height, f"ties and members of {case.campaign.id}", parts)


def _blocks(case: Case) -> list[tuple[str, list[tuple[str, float]]]]:
    """The members by their pools, the largest first; what is too much for one picture is one block."""
    by_pool: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for label, member in sorted(case.campaign.members.items(), key=lambda each: -each[1].confidence):
        by_pool[case.held_by.get(label, NO_POOL)].append((label, member.confidence))
    blocks = sorted(by_pool.items(), key=lambda block: (-len(block[1]), block[0]))
    if len(blocks) > MOST_BLOCKS:
        rest = [member for _, members in blocks[MOST_BLOCKS - 1 :] for member in members]
        blocks[MOST_BLOCKS - 1 :] = [(f"{len(blocks) - MOST_BLOCKS + 1} more pools", rest)]
    return blocks


def _tops(blocks: Sequence[tuple[str, Sequence[object]]]) -> list[int]:
    """Where each block begins, and where the last one ends."""
    tops = [0]
    for _, members in blocks:
        lines = -(-min(len(members), MOST_DOTS) // DOTS_A_LINE)
        tops.append(tops[-1] + 30 + 15 * lines)
    return tops


def _dots(members: Sequence[tuple[str, float]], top: float) -> Iterator[str]:
    for number, (label, confidence) in enumerate(members[:MOST_DOTS]):
        x, y = DOTS_LEFT + 6 + number % DOTS_A_LINE * 15, top + number // DOTS_A_LINE * 15
        title = f"<title>{words.safe(label)}, {confidence:.2f}</title>"
        opacity = 0.15 + 0.85 * min(1.0, max(0.0, confidence))
        yield f'<circle class="dot" cx="{x}" cy="{y:.1f}" r="5" fill-opacity="{opacity:.2f}">{title}</circle>'


def growth(case: Case) -> str:
    """How many of its members were ones by when, and when something happened."""
    campaign = case.campaign
    joined = sorted(member.since_us for member in campaign.members.values())
    moments = [*joined, campaign.since_us, *(event.at_us for event in campaign.events)]
    start, end = min(moments), max(case.now_us, *moments)
    left, right, floor, roof = 30, WIDTH - 10, 110, 14

    def across(at_us: int) -> float:
        return left + (right - left) * (at_us - start) / max(1, end - start)

    def up(members: int) -> float:
        return floor - (floor - roof) * members / max(1, len(joined))

    steps = [f"M{left},{floor}"]
    for number, at_us in enumerate(joined, 1):
        steps.append(f"H{across(at_us):.1f}V{up(number):.1f}")
    parts = [
        f'<path class="area" d="{"".join(steps)}H{right}V{floor}Z"/>',
        f'<path class="axis" d="M{left},{floor}H{right}"/>',
        _text(left - 6, roof + 4, str(len(joined)), "end"),
        _text(left - 6, floor, "0", "end"),
        _text(left, floor + 34, words.moment(start / 1e6)[:10], ""),
        _text(right, floor + 34, words.moment(end / 1e6)[:10], "end"),
    ]
    for event in campaign.events:
        x = across(event.at_us)
        told = f"<title>{words.safe(words.moment(event.at_us / 1e6))} {words.safe(event.text)}</title>"
        parts.append(
            f'<path class="event" d="M{x:.1f},{floor + 3}l-6,11h12Z">{told}</path>'
            f'<path class="rule" d="M{x:.1f},{roof}V{floor}"/>'
        )
    return _svg(floor + 40, f"members and events of {campaign.id} in time", parts)


def signals(suspicion: Suspicion, now: float) -> str:
    """Since when each signal has spoken against a holder, and how strongly it does now."""
    findings = suspicion.findings
    start = min((finding.since for finding in findings), default=now)
    left, right = 170, WIDTH - 70

    def across(at: float) -> float:
        return left + (right - left) * (at - start) / max(1.0, now - start)

    parts = []
    for number, finding in enumerate(findings):
        y = (number + 0.5) * ROW
        begin, end = across(finding.since), across(finding.at)
        faint = 0.2 + 0.8 * min(1.0, max(0.0, finding.left) / 30)
        parts.append(f'<path class="axis" d="M{left},{y:.1f}H{right}"/>')
        parts.append(
            f'<rect class="bar" x="{begin:.1f}" y="{y - 8:.1f}" width="{max(6.0, end - begin):.1f}" '
            f'height="16" rx="4" fill-opacity="{faint:.2f}">'
            f"<title>{words.safe(finding.signal.meaning)}</title></rect>"
        )
        parts.append(_text(left - 10, y + 4, finding.signal, "end name"))
        parts.append(_text(WIDTH - 2, y + 4, f"{finding.left:.1f} dB", "end"))
    height = len(findings) * ROW + 24
    parts.append(_text(left, height - 6, words.moment(start)[:10], ""))
    parts.append(_text(right, height - 6, words.moment(now)[:10], "end"))
    return _svg(height, f"signals against {suspicion.holder} in time", parts)


def _svg(height: float, what: str, parts: Iterable[str]) -> str:
    """One part a line, so that a browser which shows texts only keeps them apart."""
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{words.safe(what)}">'
    return "\n".join((head, *parts, "</svg>"))


def _curve(x: float, y: float, to_x: float, to_y: float, width: float) -> str:
    bend = (x + to_x) / 2
    path = f"M{x:.1f},{y:.1f}C{bend:.1f},{y:.1f} {bend:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
    return f'<path class="link" stroke-width="{width:.1f}" d="{path}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{words.safe(text)}</text>'


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
