"""The pictures of `docs/performance.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.pictures import OURS, SECOND, THEIRS, picture
from benchmarks.speed import peers, proxy, store
from benchmarks.speed.report import CONNECTIONS, heaviest

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.speed.report import Results


def draw(results: Results, folder: Path) -> None:
    """Write an SVG for each part that has been run."""
    for name, part in (("beside", "peers"), ("cpu", "peers"), ("proxies", "proxy"), ("scripts", "store")):
        if part in results:
            with picture(folder / f"{name}.svg") as axes:
                DRAWN[name](axes, results[part])


def _beside(axes: Any, found: dict[str, Any]) -> None:
    cases = found["64"]
    names = list(cases)[::-1]
    ratios = [cases[name][f"rate / {peers.SCRIPT}"] for name in names]
    errors = [[value - low for value, low, _ in ratios], [high - value for value, _, high in ratios]]
    axes.barh(names, [value for value, *_ in ratios], xerr=errors, color=_colors(names))
    axes.set_xlabel("requests/s ÷ one trivial EVALSHA, 64 connections")


def _cpu(axes: Any, found: dict[str, Any]) -> None:
    cases = found["64"]
    names = list(cases)[::-1]
    app = [cases[name]["app_cpu_us"] for name in names]
    axes.barh(names, app, color=_colors(names), label="app")
    axes.barh(names, [cases[name]["redis_cpu_us"] for name in names], left=app, color=SECOND, label="Redis")
    axes.set_xlabel("CPU µs a request, 64 connections: the app, and Redis")


def _proxies(axes: Any, found: dict[str, Any]) -> None:
    kinds = [f"{kind} {count}" for kind in ("whole", "stream") for count in CONNECTIONS]
    for place, (name, color) in enumerate(((proxy.LIMITS, OURS), (proxy.EVERYTHING, SECOND))):
        shares = [found[kind][name][f"rate / {proxy.PASS_THROUGH}"][0] for kind in kinds]
        axes.bar([at + 0.4 * place - 0.2 for at in range(len(kinds))], shares, 0.38, color=color, label=name)
    words = {"whole": "answers", "stream": "streams"}
    axes.set_xticks(range(len(kinds)), [f"{words[k]}, {n}" for k, n in (kind.split() for kind in kinds)])
    axes.set_ylabel("requests/s ÷ pass-through")
    axes.legend(frameon=False)


def _scripts(axes: Any, found: dict[str, Any]) -> None:
    names = list(found)[::-1]
    for place, (phase, color) in enumerate(((store.BEFORE, OURS), (store.AFTER, SECOND))):
        took = [heaviest(found[name][phase])[0]["p10_us"] for name in names]
        label = "admit" if phase == store.BEFORE else "settle"
        axes.barh([at - 0.4 * place + 0.2 for at in range(len(names))], took, 0.38, color=color, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("µs in Redis, 10th percentile")
    axes.legend(frameon=False)


DRAWN = {"beside": _beside, "cpu": _cpu, "proxies": _proxies, "scripts": _scripts}


def _colors(names: list[str]) -> list[str]:
    return [OURS if name.startswith("guard") else THEIRS for name in names]
