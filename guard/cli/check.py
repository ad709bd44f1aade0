"""`guard check`: whether the settings can work, and the policy that follows from them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.asgi.copies import MOST_COPIED
from guard.cli import output
from guard.cli.app import Config, Json, ask_store, seconds_of
from guard.cli.impact import print_impact
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, shown
from guard.core.modes import ENFORCED, Mode
from guard.core.reshape import Reasoning
from guard.extras import NEEDS_DETECTION
from guard.settings.risk import Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from guard.admin import Impact, Operator
    from guard.cli.tables import Trimmed
    from guard.core.detection import Detection
    from guard.core.ladder import Ladder, Rung
    from guard.core.limits import Limit
    from guard.core.policy import Policy, Tier
    from guard.detection.reference import Reference
    from guard.identity.identifier import Identifier
    from guard.settings.identity import JwtSettings
    from guard.settings.reasoning import ReasoningSettings
    from guard.settings.root import Settings


MOST_LINES = 5
"""Maximum number of overrides and of declared uses that are listed without `--verbose`."""

LONGEST_ORIGIN = 100


def check(
    config: Config = None,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also list routes, overrides and uses.")
    ] = False,
    store: Annotated[
        bool,
        typer.Option(
            "--store", help="Ask the store too: its pepper, what issued keys say, and what it does when full."
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(help="Say what these limits would have refused in the last 6h, or 24h at most."),
    ] = None,
    json: Json = False,
) -> None:
    """Validate the settings, and print the policy they make.

    Reads the settings and the files that they name; asks not the backend, and the store only with --store
    or --against.
    """
    from guard.admin.json.policy import policy_json, reference_of
    from guard.core.pseudonyms import Pseudonyms
    from guard.identity.identifier import Identifier
    from guard.settings import cautions
    from guard.settings.load import find, load, read_toml

    file = find(config)
    settings = load(file)
    keys = Pseudonyms(b"only to read the files that the settings name")
    identifier = Identifier(settings.identity, keys, settings.units, settings.tiers)
    content = cautions.Content(file is not None and not read_toml(file), identifier.known_keys)
    policy = settings.policy()
    said = ask_store(config, _said_by_keys) if store else frozenset()
    for caution in cautions.of(settings, policy, content, os.environ, said):
        output.complain(caution)
    impact = None if against is None else _impact(config, against)
    room = ask_store(config, lambda operator: operator.capacity()) if store else None
    if room is not None and room.forgets:
        output.complain(str(room))
    watches = policy.detection.rollout.mode is not Mode.OFF
    reference = reference_of(settings, policy)
    if json:
        from guard.admin.json.impact import impact_json

        shown = policy_json(settings, policy, reference)
        output.print_json(shown if impact is None else {**shown, "against": impact_json(impact)})
        return
    console = output.console()
    if room is not None and not room.forgets:
        console.print(str(room), markup=False, soft_wrap=True)

    def say(lines: Iterable[str]) -> None:
        for line in lines:
            console.print(words.printable(line, keep="\n"), markup=False, soft_wrap=not sys.stdout.isatty())

    say(_summary_lines(settings, policy, identifier))
    if verbose:
        console.print(_routes_table(policy))
    for tier in policy.tiers.values():
        _print_tier(console, tier, policy)
    if watches:
        say(_ladders_lines(policy))
        say(_hold_lines(settings, policy))
        say(_webhook_lines(settings))
    say(_cut(list(_override_lines(policy)), "override", verbose))
    if reference is None:
        say([f"\nDetection off{f': it {NEEDS_DETECTION}' if settings.detection.missing else ''}"])
    else:
        say(_detection_lines(policy.detection, reference, verbose))
    if policy.campaigns is not Mode.ENFORCE:
        say([f"\nCampaigns in mode {policy.campaigns}: their members are held each by itself"])
    uses = [f"{holder}: {each.use}{_until(each.until_us)}" for holder, each in policy.detection.uses.items()]
    say(_cut(uses, "declared use", verbose))
    if impact is not None:
        print()
        print_impact(impact)


def _impact(config: Path | None, against: str) -> Impact:
    """What the settings would have refused in the last hours."""
    hours = -(-int(seconds_of(against)) // 3_600)
    return ask_store(config, lambda operator: operator.impact_of_settings(hours))


async def _said_by_keys(operator: Operator) -> frozenset[Attribute]:
    return (await operator.keys.heard()).attributes


def _summary_lines(settings: Settings, policy: Policy, identifier: Identifier) -> Iterator[str]:
    """How requests come in, in a few lines."""
    extent = "" if policy.rollout == ENFORCED else f" ({words.rollout(policy.rollout)})"
    unknown_paths = settings.unknown_paths or "deny (in an app: pass)"
    yield f"mode {policy.rollout.mode}{extent}, unknown paths {unknown_paths}"
    own = f"own redis-server in {settings.data_dir}"
    yield f"store: {f'redis_url, {settings.store.url.place}' if settings.store.redis_url else own}"
    identity = settings.identity
    callers = [f"unknown keys {identity.unknown_keys}", f"anonymous {identity.anonymous}"]
    if identifier.known_keys is not None:
        callers.append(f"{words.counted(identifier.known_keys, 'key')} in the keys file")
    if identity.jwt is not None:
        callers.append(f"tokens {'/'.join(identity.jwt.algorithms)} ({_claims(identity.jwt)})")
    if said := identity.headers.model_dump(exclude_none=True):
        callers.append(f"{', '.join(said)} from the gateway")
    yield f"callers: {', '.join(callers)}; unverified ones are new for {identity.new_for}"
    network, pool = identity.network_prefix, identity.pool_prefix
    yield (
        f"addresses: a network is an IPv4 /{network.ipv4} or IPv6 /{network.ipv6}, "
        f"a pool a /{pool.ipv4} or /{pool.ipv6}"
    )
    actions = Counter(route.action for route in policy.routes)
    counts = ", ".join(f"{number} {action}" for action, number in actions.items())
    yield f"routes: {counts or 'none'}"
    yield f"answers: {_read(settings, policy)}"
    if any(tier.seals for tier in policy.tiers.values()):
        yield f"sealed reasoning: {_sealed(settings.reasoning)}"


def _sealed(reasoning: ReasoningSettings) -> str:
    """By what reasoning is sealed, and what becomes of what does not belong where it comes back."""
    whose = "that follows from the pepper" if reasoning.secret is None else "of its own"
    also = f", taken from every caller: {', '.join(reasoning.also)}" if reasoning.also else ""
    return f"by a secret {whose}, where it does not belong: {reasoning.mismatch}{also}"


def _claims(jwt: JwtSettings) -> str:
    """What a token says of its caller, and which of org and tier it does not say."""
    said = ", ".join(f"{attribute} from {claim}" for attribute, claim in jwt.claims.items())
    unsaid = ", ".join(f"no {each}" for each in (Attribute.ORG, Attribute.TIER) if each not in jwt.claims)
    return f"{said}; {unsaid}" if unsaid else said


def _read(settings: Settings, policy: Policy) -> str:
    """Whether queries and answers are read, by what, and what is not read of them."""
    if not policy.reads_texts:
        return f"not read{f': that {NEEDS_DETECTION}' if settings.detection.missing else ''}"
    whose = {Where.PROCESS: "one process of this machine", Where.THREAD: "a thread of each worker"}
    sample = policy.detection.sample
    skipped = f"{1 - sample:.0%} of them (sample_percent), " if sample < 1 else ""
    return (
        f"read by {whose[settings.detection.analyst]}; not read: {skipped}what is behind the first "
        f"{MOST_COPIED >> 10} KB of an answer, the latest while {settings.detection.max_waiting} wait"
    )


def _routes_table(policy: Policy) -> Trimmed:
    rows = [
        (route.path, " ".join(sorted(route.methods)) or "any", route.action, route.dialect or "")
        for route in policy.routes
    ]
    return output.table("\nRoutes", ("path", "methods", "action", "dialect"), rows)


def _print_tier(console: Console, tier: Tier, policy: Policy) -> None:
    """One row a limit, with all of its windows."""
    rows = [
        (
            limit.name,
            limit.unit,
            "+".join(limit.per),
            " ".join(words.rate(limit.unit, window) for window in limit.windows)
            + _algorithm(limit)
            + _ramp(limit)
            + _floor(limit),
            words.conditions(limit),
        )
        for limit in tier.limits
    ]
    reasoning = "" if tier.reshape.reasoning is Reasoning.SHOWN else f", {_REASONING[tier.reshape.reasoning]}"
    default = ", the default" if tier.name == policy.default_tier and tier.name != "default" else ""
    title = f"\nTier {tier.name}{default}, on_store_error = {tier.on_store_error}{reasoning}"
    if tier.rollout != ENFORCED:
        title += f", {words.rollout(tier.rollout)}"
    columns = ("limit", "unit", "per", "rate", "only")
    table = output.table(title, columns, rows, optional=("only",))
    console.print(table if rows else f"{title}: no limits", markup=False)


def _algorithm(limit: Limit) -> str:
    """How it counts, where that is not by a sliding window or at once."""
    return f", {limit.algorithm}" if limit.algorithm in (Algorithm.GCRA, Algorithm.CALENDAR) else ""


def _ramp(limit: Limit) -> str:
    """How it grows for who is new, where it does."""
    ramp = limit.ramp
    return f", from {ramp.start:.0%} in {words.span(ramp.span_us / 1e6)}" if ramp else ""


def _floor(limit: Limit) -> str:
    """What each caller has for itself, where there is anything."""
    return f", {shown(limit.unit, limit.floor)} for each" if limit.floor else ""


def _ladders_lines(policy: Policy) -> Iterator[str]:
    """What is done in each band, once for all tiers that do the same."""
    tiers: dict[tuple[str, ...], list[str]] = {}
    for tier in policy.tiers.values():
        tiers.setdefault(tuple(_ladder_lines(tier.ladder)), []).append(tier.name)
    for lines, names in tiers.items():
        yield "\nLadder" if len(tiers) == 1 else f"\nLadder of {', '.join(names)}"
        yield from lines


def _hold_lines(settings: Settings, policy: Policy) -> Iterator[str]:
    """How long holds last and who is told, where any tier holds."""
    if any(tier.ladder.holds for tier in policy.tiers.values()):
        webhook = settings.hold.webhook
        told = f", and {webhook.host} is told" if webhook is not None else ""
        yield f"\nWho is held stays so until released, for {settings.hold.expires_days:g} days at most{told}"


def _webhook_lines(settings: Settings) -> Iterator[str]:
    """Who is told of what."""
    for each in settings.webhooks:
        yield f"\n{each.url.host} is told of {', '.join(each.events)}"


def _cut(lines: Sequence[str], what: str, verbose: bool) -> Iterator[str]:
    """These lines under a title, the first few of many."""
    if not lines:
        return
    yield f"\n{words.counted(len(lines), what)}"
    shown = lines if verbose else lines[:MOST_LINES]
    yield from shown
    if len(shown) < len(lines):
        yield f"and {len(lines) - len(shown)} more: --verbose lists them"


def _override_lines(policy: Policy) -> Iterator[str]:
    for holder, overrides in policy.overrides.items():
        for each in overrides:
            what = where = ""
            if each.of is not None and each.counts is not None:
                what = words.numbers(each.of, each.counts)
                if len(policy.tiers) > 1:
                    where = f" of tier {', '.join(policy.tiers_with(each.of))}"
            yield f"{holder} has {what or 'no limit'} in {each.limit}{where}{_until(each.until_us)}"


def _ladder_lines(ladder: Ladder) -> Iterator[str]:
    for band, rung in ladder.rungs.items():
        if rung.bites:
            yield f"risk {band}: {_rung(rung)}"
    delay = f", after a delay of up to {words.span(ladder.delay_us / 1e6)}" if ladder.delay_us else ""
    yield f"applied to {ladder.share:.0%} of requests{delay}"


def _rung(rung: Rung) -> str:
    """What a rung does, in words."""
    reshape = rung.reshape
    parts = (
        "denied" if rung.deny else "",
        f"challenged: {rung.challenge}" if rung.challenge else "",
        "held for review" if rung.hold else "",
        "" if reshape.logprobs else "no logprobs",
        "" if reshape.logit_bias else "no logit bias",
        "" if reshape.max_n is None else f"n at most {reshape.max_n}",
        "" if reshape.max_output_tokens is None else f"at most {reshape.max_output_tokens} output tokens",
        "" if reshape.shows_reasoning else _REASONING[reshape.reasoning],
        f"up to {rung.slow_seconds:g} s slower" if rung.slow_seconds else "",
        f"own limits at {rung.throttle:.0%}" if rung.throttle < 1 else "",
        f"novelty counts {rung.novelty_price:g} times" if rung.novelty_price > 1 else "",
    )
    return ", ".join(part for part in parts if part)


_REASONING = {Reasoning.SEALED: "reasoning sealed", Reasoning.HIDDEN: "no reasoning shown"}


def _detection_lines(detection: Detection, reference: Reference, verbose: bool) -> Iterator[str]:
    weights = detection.weights
    extent = "enforced" if detection.rollout == ENFORCED else words.rollout(detection.rollout)
    sampled = f", {detection.sample:.0%} of queries sampled" if detection.sample < 1 else ""
    yield f"\nDetection {extent}{sampled}, half-life of evidence {weights.half_life_us / 3.6e9:g} h"
    yield (
        f"bands from {weights.elevated:g} dB (elevated), {weights.high:g} (high), {weights.critical:g} "
        "from two groups (critical)"
    )
    yield from _reference_lines(reference, verbose)


def _reference_lines(reference: Reference, verbose: bool) -> Iterator[str]:
    """Which reference holds, from when and from how many holders."""
    source, origin = reference.calibrated, reference.origin
    if source is not None:
        yield (
            f"reference of {source.identities} identities of your own with {source.queries} queries, "
            f"{source.since} to {source.until}, from {origin}"
        )
        yield f"calibrated, and settings proposed, on {source.made} by guard {source.guard}"
        return
    if len(origin) > LONGEST_ORIGIN and not verbose:
        origin = f"{origin[: LONGEST_ORIGIN - 1]}…"
    yield f"reference of {reference.holders} honest holders: {origin}"


def _until(until_us: int | None) -> str:
    return "" if until_us is None else f" until {words.moment(until_us / 1e6)}"
