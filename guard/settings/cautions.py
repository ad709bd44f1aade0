"""Settings that can work and that the operator may not have meant.

Editors empty a file before they write it, and a copy that is under way may end where it is still valid. So a
server that runs does not obey a file that has become empty, and warns of each protection that an edit has
taken away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from guard.core.identity import ADDRESSES, CHOSEN, Attribute, Holder
from guard.core.limits import Algorithm, Holders, Unit, scale_of
from guard.core.modes import Mode, mildest
from guard.core.policy import RouteAction
from guard.errors import ConfigError
from guard.extras import NEEDS_DETECTION
from guard.settings.environment import unrelated
from guard.settings.tiers import limits_left_out

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from guard.core.policy import Policy
    from guard.settings.root import Settings

LEAST_SLIDING = 10
"""With a smaller count, a sliding window admits noticeably less: of 1 a period, 1 in two periods."""

API_OF_SEVERAL = "/openai"
"""Azure's paths begin so, and elsewhere a whole API stands below it, as in https://api.groq.com/openai."""

WIDEST = {4: 8, 6: 19}
"""Public networks with a prefix as short as this, by IP version, are too wide to be somebody's proxies."""


SAID_BY = {
    Attribute.USER: "identity.keys_file, identity.jwt or identity.headers.user",
    Attribute.ORG: "identity.keys_file, identity.jwt.org_claim or identity.headers.org",
    Attribute.TIER: "identity.keys_file, identity.jwt.tier_claim or identity.headers.tier",
    Attribute.ASN: "identity.headers.asn or identity.jwt.asn_claim",
    Attribute.PAYMENT: "identity.headers.payment or identity.jwt.payment_claim",
    Attribute.TLS: "identity.headers.tls",
}
"""The settings by which somebody says an attribute that neither the connection nor the request has. In an app
the app may.
"""

SAID_BY_KEYS = frozenset({Attribute.USER, Attribute.ORG, Attribute.TIER})
"""What the keys file may say of a key, and the operator who issues one."""


class Content(NamedTuple):
    """Whether the settings file has no setting, and how many keys the keys file names, if there is one."""

    empty: bool
    keys: int | None


def of(
    settings: Settings,
    policy: Policy,
    content: Content,
    environment: Mapping[str, str],
    issued: Collection[Attribute] = (),
) -> Iterator[str]:
    """All that is to be said of settings before anything serves by them; `issued` is what issued keys say."""
    yield from at_start(settings, content, environment)
    yield from without_server(settings)
    yield from doubled(settings)
    yield from unsupplied(settings, issued)
    yield from unmeasured(settings)
    yield from coarse(policy)
    yield from unbounded(settings, policy)
    yield from unpriced(policy)
    yield from untold(settings, policy)


def at_start(settings: Settings, content: Content, environment: Mapping[str, str]) -> Iterator[str]:
    """What to tell the operator of settings that are about to be used."""
    if content.empty:
        yield "the settings file is empty: the default settings hold"
    if content.keys == 0:
        yield f"{settings.identity.keys_file}: the keys file names no key"
    if "tiers" not in settings.model_fields_set and (names := limits_left_out()):
        yield (
            f"the default limits {', '.join(names)} are left out: novelty {NEEDS_DETECTION}; "
            "a file that `guard init` writes does without"
        )
    for variable in unrelated(environment, type(settings)):
        yield f"{variable} is no setting of guard's and is ignored"
    for network in settings.identity.trusted_proxies:
        if not network.is_private and network.prefixlen <= WIDEST[network.version]:
            yield (
                f"identity.trusted_proxies: {network} is a large part of the internet: whoever calls from "
                "there may say any address, and any user that `headers` name; write your proxies' networks"
            )


def unsupplied(settings: Settings, issued: Collection[Attribute] = ()) -> Iterator[str]:
    """Where settings go by what nothing says of a caller: each caller is then held by itself.

    `issued` is what the keys say that guard has issued.
    """
    lacking = {attribute for attribute in SAID_BY if not _is_said(settings, attribute)}.difference(issued)
    limits = {limit.name: limit for tier in settings.tiers for limit in settings.limits_of(tier)}
    for limit in limits.values():
        for attribute in limit.per:
            if attribute in lacking and attribute is not Attribute.TIER:
                yield (
                    f"limit `{limit.name}`: nothing says the {attribute} of a caller, so each is counted by "
                    f"its key, user or network instead; {_how_to_say(attribute)}"
                )
        if settings.campaigns.mode is not Mode.ENFORCE and Attribute.CAMPAIGN in limit.per:
            yield (
                f"limit `{limit.name}`: it holds nobody, since campaigns.mode is `{settings.campaigns.mode}`"
            )
        if limit.holders is Holders.VERIFIED and not (issued or _is_anybody_verified(settings)):
            yield (
                f"limit `{limit.name}`: it is for verified callers, and nobody vouches for any; set "
                "identity.keys_file, identity.jwt or identity.headers.user, let the app say it, or issue "
                "keys (`guard key new`)"
            )
    if Attribute.TIER in lacking:
        for tier in settings.tiers:
            if tier != settings.default_tier:
                yield f"tier `{tier}`: nothing says the tier of a caller; {_how_to_say(Attribute.TIER)}"
    for section, named in (("overrides", settings.overrides), ("uses", settings.uses)):
        for each in named:
            for part in Holder.parse(each.holder).parts:
                if part.attribute in lacking and part != Holder(Attribute.TIER, settings.default_tier):
                    yield (
                        f"{section}: {each.holder} is nobody, since nothing says the {part.attribute} of a "
                        f"caller; {_how_to_say(part.attribute)}"
                    )


def unmeasured(settings: Settings) -> Iterator[str]:
    """The units of the operator's own of which nobody says how many a request has."""
    for name, unit in settings.units.items():
        told = (
            (unit.header, settings.identity.trusted_proxies, "header", "identity.trusted_proxies"),
            (unit.claim, settings.identity.jwt, "claim", "identity.jwt"),
        )
        if not any(where and believed for where, believed, _, _ in told):
            needs = " or ".join(f"its {kind} needs {setting}" for where, _, kind, setting in told if where)
            yield f"unit `{name}`: each request has {unit.default}, since nobody says it; {needs}"


def told_twice(names: Iterable[str]) -> Iterator[str]:
    """The keys that are in the keys file and issued."""
    for name in names:
        yield f"key {name!r} is in the keys file and issued: what the keys file says of it holds"


def without_server(settings: Settings) -> Iterator[str]:
    """Where guard is to run a redis-server, and there is none."""
    from guard.store.embedded.server import find_server  # only who runs one

    if settings.store.redis_url is None:
        try:
            find_server()
        except ConfigError as error:
            yield f"nothing can serve by these settings here: {error}"


def unbounded(settings: Settings, policy: Policy) -> Iterator[str]:
    """Where a caller gets new limits with each key that it makes up."""
    limits = policy.tiers[policy.default_tier].limits
    unchosen = ADDRESSES | {Attribute.UNVERIFIED}
    bounds = (each for each in limits if each.rollout.mode is Mode.ENFORCE and not each.match.free)
    if settings.identity.unknown_keys == "accept" and not any(
        unchosen & set(each.per) and set(each.per) <= unchosen | CHOSEN for each in bounds
    ):
        yield (
            f"unknown keys are accepted, and no limit of tier `{policy.default_tier}` is kept per network, "
            "pool, ip or unverified: each key that a caller makes up has limits of its own; add a limit with "
            '`per = "network"`, or set identity.unknown_keys = "refuse"'
        )


def doubled(settings: Settings) -> Iterator[str]:
    """What to say of a backend whose URL ends with what the paths of requests begin with."""
    url = settings.backend.url
    path = (url.path or "").rstrip("/") if url is not None else ""
    names = path.split("/")[1:]
    ends = ["/" + "/".join(names[start:]) for start in range(len(names))]
    for route in (*settings.routes, *settings.extra_routes):
        for end in ends:
            if end != API_OF_SEVERAL and f"{route.path}/".startswith(f"{end}/"):
                yield (
                    f"backend.url: it ends in {end}, and whole paths are put behind it, such as "
                    f"{path}{route.path}; write {str(url).rstrip('/').removesuffix(end)}"
                )
                return


def coarse(policy: Policy) -> Iterator[str]:
    """The limits whose window counts too little for its algorithm."""
    limits = {limit for tier in policy.tiers.values() for limit in tier.limits}
    for limit in sorted(limits, key=lambda limit: limit.name):
        for window in limit.windows if limit.algorithm is Algorithm.SLIDING_WINDOW else ():
            count = window.count // scale_of(limit.unit)
            if 0 < count < LEAST_SLIDING:
                yield (
                    f"limit `{limit.name}`: a sliding window of {count} admits fewer, since the one before "
                    f'still weighs; algorithm = "calendar" or "gcra" admits {count} in each period'
                )


def unpriced(policy: Policy) -> Iterator[str]:
    """Where what is drawn is not counted, or not in a budget that the ladder's price applies to."""
    if policy.detection.rollout.mode is Mode.OFF:
        return
    for tier in policy.tiers.values():
        budgets = [limit for limit in tier.limits if limit.unit == Unit.NOVELTY]
        price = max((rung.novelty_price for rung in tier.ladder.rungs.values()), default=1.0)
        if not budgets:
            yield (
                f"tier `{tier.name}` has no diversity budget: nothing bounds how much new its callers draw, "
                'whatever their risk; add a limit with `unit = "novelty"`'
            )
        elif price > 1 and not any(limit.own for limit in budgets):
            yield (
                f"tier `{tier.name}`: `novelty_price` raises nothing, since no diversity budget is the "
                'caller\'s own; add a limit with `unit = "novelty"` per key, user or end_user'
            )


def untold(settings: Settings, policy: Policy) -> Iterator[str]:
    """Where a web-hook waits for what never happens."""
    if settings.hold.webhook is not None and not any(tier.ladder.holds for tier in policy.tiers.values()):
        yield "hold.webhook is never told of anything: no rung of a ladder has `hold = true`"


def refuse_emptied(old: Content, new: Content) -> None:
    """Raise `ConfigError` where a file had something in it and now has nothing."""
    if new.empty and not old.empty:
        raise ConfigError("the settings file is empty; restart guard if the default settings are meant")
    if old.keys and new.keys == 0:
        raise ConfigError("the keys file names no key any more; restart guard if that is meant")


def loosened(old: Settings, new: Settings) -> Iterator[str]:
    """What protected the model under the old settings and does not under the new ones."""
    before, after = old.identity, new.identity
    if before.keys_file is not None and after.keys_file is None:
        yield "identity.keys_file is gone: its keys are unknown keys now"
    if before.jwt is not None and after.jwt is None:
        yield "identity.jwt is gone: tokens are not verified any more"
    for name in ("unknown_keys", "anonymous"):
        if getattr(before, name) == "refuse" and getattr(after, name) != "refuse":
            yield f"identity.{name} is no longer `refuse`: these callers are let in"
    if old.unknown_paths != new.unknown_paths in ("count", "pass"):
        yield f"unknown_paths is `{new.unknown_paths}`: paths without a route reach the backend"
    if _milder(old.mode, new.mode):
        yield f"mode is `{new.mode}`: nothing is refused"
    if old.detection.mode is Mode.ENFORCE and new.detection.mode is not Mode.ENFORCE:
        yield f"detection.mode is `{new.detection.mode}`: nothing is done about risk"
    if old.campaigns.mode is Mode.ENFORCE and new.campaigns.mode is not Mode.ENFORCE:
        yield f"campaigns.mode is `{new.campaigns.mode}`: members of a campaign are held each by itself"
    gone = sorted(_looked_at(old) - _looked_at(new))
    if gone:
        yield f"guard no longer looks at {', '.join(gone)}"
    limits = {name: _limits(new, name) for name in new.tiers}
    for tier in old.tiers:
        lost = _limits(old, tier) - limits.get(tier, set())
        if tier in limits and _milder(old.tiers[tier].mode, new.tiers[tier].mode):
            yield f"the mode of tier `{tier}` is `{new.tiers[tier].mode}`: it refuses nothing"
        if tier in limits and _holds(old, tier) and not _holds(new, tier):
            yield f"no rung of tier `{tier}` holds any more: who is held there is served"
        if tier not in limits:
            yield f"tier `{tier}` is gone: its identities fall under `{new.default_tier}`"
        elif lost:
            yield f"tier `{tier}` has no limit {', '.join(f'`{name}`' for name in sorted(lost))} any more"


def fewer_keys(old: Content, new: Content) -> Iterator[str]:
    """What to say where the keys file has lost keys, as one that is only half written has."""
    if old.keys and new.keys and new.keys < old.keys:
        yield f"the number of keys in the keys file is {new.keys}, and was {old.keys}"


def _is_said(settings: Settings, attribute: Attribute) -> bool:
    """Whether a setting has somebody say an attribute."""
    identity = settings.identity
    return (
        (identity.keys_file is not None and attribute in SAID_BY_KEYS)
        or getattr(identity.headers, attribute) is not None
        or (identity.jwt is not None and attribute in identity.jwt.claims)
    )


def _is_anybody_verified(settings: Settings) -> bool:
    identity = settings.identity
    named = identity.headers.user or identity.headers.org
    return bool(identity.keys_file or identity.jwt or named)


def _how_to_say(attribute: Attribute) -> str:
    issuing = f", or issue keys with it (`guard key new --{attribute}`)" if attribute in SAID_BY_KEYS else ""
    return f"set {SAID_BY[attribute]}, or let the app say it (`identify`){issuing}"


def _looked_at(settings: Settings) -> set[str]:
    """The paths whose requests are counted, as routes name them."""
    routes = (*settings.routes, *settings.extra_routes)
    return {route.path for route in routes if route.action in (RouteAction.GUARD, RouteAction.COUNT)}


def _holds(settings: Settings, tier: str) -> bool:
    """Whether a rung of a tier's ladder holds."""
    return (settings.tiers[tier].ladder or settings.ladder).ladder().holds


def _milder(old: Mode, new: Mode) -> bool:
    return old is not new and mildest(old, new) is new


def _limits(settings: Settings, tier: str) -> set[str]:
    return {limit.name for limit in settings.limits_of(tier)}
