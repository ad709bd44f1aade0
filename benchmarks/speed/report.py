"""The tables of `docs/performance.md`, from what the benchmarks wrote down."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.speed import litellm, peers, proxy, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Results = dict[str, Any]
"""What the parts wrote down, by their names."""

TABLE = re.compile(r"(<!-- table: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CONNECTIONS = ("1", "8", "64")


def filled(page: str, results: Results) -> str:
    """A page with its tables written anew; one whose part has not been run stays as it is."""

    def written(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        table = TABLES[name](results)
        return found.group() if table is None else f"{begin}\n{table}\n\n{end}"

    return TABLE.sub(written, page)


def beside(results: Results) -> str | None:
    """The app behind each limiter."""
    if (found := results.get("peers")) is None:
        return None
    one, many = found["1"], found["64"]
    head = (
        "",
        "requests/s ÷ one EVALSHA: 1 connection",
        "64 connections",
        "÷ `limits`, 3 windows",
        "÷ slowapi",
        "p50 at 1, µs",
        "CPU of the app, µs",
        "of the analyst, µs",
        "of Redis, µs",
    )
    rows = [
        (
            name,
            interval(one[name][f"rate / {peers.SCRIPT}"]),
            interval(case[f"rate / {peers.SCRIPT}"]),
            interval(case[f"rate / {peers.LIMITS_3}"]),
            interval(case[f"rate / {peers.SLOWAPI}"]),
            number(one[name]["p50_us"]),
            number(case["app_cpu_us"]),
            number(case["analyst_cpu_us"]) if case["analyst_cpu_us"] else "–",
            number(case["redis_cpu_us"]),
        )
        for name, case in many.items()
    ]
    return table(head, rows)


def half(results: Results) -> str | None:
    """Latency where a server has half of what it can do."""
    if (found := results.get("peers")) is None:
        return None
    head = ("", "requests/s", "p50, µs", "p99, µs", "p99 ÷ p50")
    return table(
        head,
        [
            (
                name,
                *(number(case[each]) for each in ("per_second", "p50_us", "p99_us")),
                f"{case['tail']:.1f}",
            )
            for name, case in found["half"].items()
        ],
    )


def proxies(results: Results) -> str | None:
    """`guard serve` and others, as shares of what the pass-through does."""
    if (found := results.get("proxy")) is None:
        return None
    kinds = [(kind, count) for kind in ("whole", "stream") for count in CONNECTIONS]
    head = (
        "",
        *(f"{'whole answers' if kind == 'whole' else 'streams'}, {count}" for kind, count in kinds),
        "`[DONE]` to the last byte at 1, µs",
        "at 8, µs",
    )
    rows = [
        (
            name,
            *(
                interval(found[f"{kind} {count}"][name][f"rate / {proxy.PASS_THROUGH}"])
                for kind, count in kinds
            ),
            *(number(found[f"stream {count}"][name]["end_us"]) for count in ("1", "8")),
        )
        for name in found["whole 1"]
    ]
    return table(head, rows)


def beside_litellm(results: Results) -> str | None:
    """How many times as many requests a second as LiteLLM, in a run of its own."""
    if (found := results.get("litellm")) is None:
        return None
    kinds = [(kind, count) for kind in ("whole", "stream") for count in CONNECTIONS]
    head = ("", *(f"{'whole answers' if kind == 'whole' else 'streams'}, {count}" for kind, count in kinds))
    rows = [
        (
            name,
            *(interval(found[f"{kind} {count}"][name][f"rate / {litellm.NAME}"]) for kind, count in kinds),
        )
        for name in found["whole 1"]
    ]
    return table(head, rows)


def scripts(results: Results) -> str | None:
    """What Redis does for a request."""
    if (found := results.get("store")) is None:
        return None
    head = (
        "",
        "admit: p10 / median, µs",
        "calls inside",
        "settle: p10 / median, µs",
        "calls inside",
        "after the answer besides, µs",
        "bytes a request",
        "scripts a request",
    )
    return table(head, [_scripts_row(name, case) for name, case in found.items()])


def _scripts_row(name: str, case: Mapping[str, Any]) -> tuple[str, ...]:
    admit, (settle, *others) = heaviest(case[store.BEFORE])[0], heaviest(case[store.AFTER])
    besides = ", ".join(times(each) for each in others) or "none"
    sent = case["at_once_64"]
    return (
        name,
        times(admit),
        f"{admit['calls']:.0f}",
        times(settle),
        f"{settle['calls']:.0f}",
        besides,
        number(sent["bytes"]),
        f"{sent['scripts']:.1f}",
    )


def heaviest(found: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Scripts, the one that takes longest first."""
    return sorted(found, key=lambda script: -script["median_us"])


def kept(results: Results) -> str | None:
    """What requests and identities leave in Redis."""
    if (found := results.get("left")) is None:
        return None
    head = ["", "keys of an identity", "keys that a settled request leaves after a minute"]
    rows = [
        [name, f"{case['keys_per_identity']:.1f}", f"{case['keys_per_request']:.3f}"]
        for name, case in found.items()
    ]
    if (memory := results.get("memory")) is not None:
        head.append(f"memory of an identity, of {memory['identities']:,}")
        for row in rows:
            row.append(f"{number(memory[row[0]]['bytes_per_identity'])} bytes")
    return table(head, rows)


def workers(results: Results) -> str | None:
    """What a worker costs."""
    if (found := results.get("worker")) is None:
        return None
    imported, cpu = found["import"], import_seconds(found)
    numpy = "with" if imported["numpy"] else "without"
    rows = [
        (
            "`from guard import GuardMiddleware`",
            f"{cpu:.2f} s of CPU, {imported['modules']:.0f} modules, {numpy} numpy",
        ),
        *(
            (f"a worker, {name}", f"{found[name]['resident_bytes'] / 1e6:.0f} MB")
            for name in ("bare app", "detection off", "everything")
        ),
        ("the analyst, one a machine", f"{found['everything']['analyst_bytes'] / 1e6:.0f} MB"),
    ]
    return table(("", ""), rows)


def import_seconds(found: Mapping[str, Any]) -> float:
    """The CPU time of the import, less that of Python itself."""
    seconds: float = found["import"]["cpu_seconds"] - found["python alone"]["cpu_seconds"]
    return seconds


def goals(results: Results) -> str | None:
    """What is aimed at, and what is reached."""
    rows = [(goal, told, "yes" if reached else "**no**") for goal, told, reached in _goals(results)]
    return table(("goal", "today", "reached"), rows) if rows else None


def _goals(results: Results) -> Iterable[tuple[str, str, bool]]:
    if (found := results.get("peers")) is not None:
        limits, one = found["64"][peers.GUARD_LIMITS], found["1"]
        for other, least in ((peers.LIMITS_3, 1.0), (peers.SLOWAPI, 1.2), (peers.SCRIPT, 0.5)):
            ratio = limits[f"rate / {other}"]
            yield f"limits, 64 connections: ≥ {least} × {other}", interval(ratio), ratio[0] >= least
        bare, script, guard = (one[name]["p50_us"] for name in (peers.BARE, peers.SCRIPT, peers.GUARD_LIMITS))
        added = (guard - bare) / (script - bare)
        yield "limits, 1 connection: added p50 ≤ 3 × that of one EVALSHA", f"{added:.1f} ×", added <= 3
        everything = found["64"][peers.GUARD_EVERYTHING]
        ratio = everything[f"rate / {peers.GUARD_LIMITS}"]
        yield "everything, 64 connections: ≥ .8 × limits", interval(ratio), ratio[0] >= 0.8
        ratio = everything[f"rate / {peers.SCRIPT}"]
        yield f"everything, 64 connections: ≥ .4 × {peers.SCRIPT}", interval(ratio), ratio[0] >= 0.4
        with_it, without = (found["over"][name]["p50_us"] for name in reversed(peers.OVERLOADED))
        yield (
            "half more than full load: p50 with everything ≤ 1.2 × that with limits",
            f"{with_it / without:.2f} ×",
            with_it <= 1.2 * without,
        )
        tail = found["half"][peers.GUARD_LIMITS]["tail"]
        yield "limits, half of full load: p99 ≤ 3 × p50", f"{tail:.1f} ×", tail <= 3
    if (found := results.get("proxy")) is not None:
        for kind, least, words in (
            ("whole 64", 0.5, "whole answers"),
            ("stream 8", 0.7, "streams, 8 connections"),
        ):
            ratio = found[kind][proxy.LIMITS][f"rate / {proxy.PASS_THROUGH}"]
            yield f"`guard serve`, {words}: ≥ {least} × the pass-through", interval(ratio), ratio[0] >= least
        ratio = found["whole 64"][proxy.EVERYTHING][f"rate / {proxy.PASS_THROUGH}"]
        yield "`guard serve`, everything: ≥ .4 × the pass-through", interval(ratio), ratio[0] >= 0.4
        end = found["stream 1"][proxy.LIMITS]["end_us"]
        yield "`[DONE]` to the last byte ≤ 200 µs at 1 connection", f"{number(end)} µs", end <= 200
    if (found := results.get("litellm")) is not None:
        ratio = found["whole 64"][proxy.LIMITS][f"rate / {litellm.NAME}"]
        yield "`guard serve`, limits: ≥ 20 × LiteLLM", interval(ratio), ratio[0] >= 20
    if (found := results.get("store")) is not None:
        case, furthest = found["everything"], list(found.values())[-1]
        for phase, words in ((store.BEFORE, "admit"), (store.AFTER, "settle")):
            script, further = heaviest(case[phase])[0], heaviest(furthest[phase])[0]
            yield (
                f"{words}, 5 limits with 8 windows: p10 ≤ 35 µs, ≤ 10 calls",
                f"{number(script['p10_us'])} µs, {script['calls']:.0f} calls",
                script["p10_us"] <= 35 and script["calls"] <= 10,
            )
            more = (further["p10_us"] - script["p10_us"]) / 3
            calls = (further["calls"] - script["calls"]) / 3
            yield (
                f"{words}, each further holder: ≤ 10 µs, ≤ 4 calls",
                f"{number(more)} µs, {calls:.0f} calls",
                more <= 10 and calls <= 4,
            )
        size = case["at_once_64"]["bytes"]
        yield "everything: ≤ 3,000 bytes a request into Redis", number(size), size <= 3_000
        scripts = case["at_once_64"]["scripts"]
        yield "everything: ≤ 2 scripts a request", f"{scripts:.1f}", scripts <= 2
    if (found := results.get("left")) is not None:
        most = max(case["keys_per_request"] for case in found.values())
        yield "no key of a settled request after a minute", f"{most:.3f}", most <= 0.001
    if (found := results.get("worker")) is not None:
        size, cpu = found["detection off"]["resident_bytes"] / 1e6, import_seconds(found)
        yield "a worker, detection off: ≤ 60 MB", f"{size:.0f} MB", size <= 60
        for key, words, least in (("resident", "a worker, everything", 70), ("analyst", "the analyst", 150)):
            size = found["everything"][f"{key}_bytes"] / 1e6
            yield f"{words}: ≤ {least} MB", f"{size:.0f} MB", size <= least
        yield "import ≤ 0.35 s of CPU, no numpy", f"{cpu:.2f} s", cpu <= 0.35 and not found["import"]["numpy"]


def runs(results: Results) -> str | None:
    """When each part was run, on which revision, and how busy the machine was with other things."""
    if not (found := results.get("runs")):
        return None
    head = ("part", "date", "guard", "rounds", "Python", "Redis", "cores that others used, of all")
    return table(
        head,
        [
            (
                part,
                run["date"],
                f"`{run['revision']}`",
                f"{run['rounds']} of {run['seconds']} s" if part in PAIRED else "",
                run["python"],
                run["redis-server"],
                f"{_others(results[part]):.1f} of {run['cores']}" if part in PAIRED else "",
            )
            for part, run in sorted(found.items())
        ],
    )


PAIRED = frozenset({"peers", "proxy", "litellm"})
"""The parts that take rounds."""


def _others(found: Mapping[str, Any]) -> float:
    return float(statistics.median(case["others"] for cases in found.values() for case in cases.values()))


TABLES: dict[str, Callable[[Results], str | None]] = {
    "beside": beside,
    "half": half,
    "proxies": proxies,
    "litellm": beside_litellm,
    "scripts": scripts,
    "kept": kept,
    "workers": workers,
    "goals": goals,
    "runs": runs,
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def interval(ratio: Sequence[float]) -> str:
    """A ratio, and where 95 % of its resamples lie."""
    value, low, high = ratio
    digits = 2 if value < 10 else 1
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def times(script: Mapping[str, float]) -> str:
    return f"{number(script['p10_us'])} / {number(script['median_us'])}"


def number(value: float) -> str:
    return f"{value:,.0f}"
