"""What can go wrong, and whose fault it was.

    GuardError
    ├── ConfigError       the operator's: a setting that cannot work
    ├── RequestError      the caller's: answered with its `status`, in the dialect's shape
    │   ├── MethodError       a path that only other methods have (405)
    │   ├── PathError         a path that a backend may read in another way (400, 404, 414)
    │   ├── CredentialError   no usable credential (401, 403) or an ambiguous one (400)
    │   ├── TooManyTriesError  too many wrong tokens of one network (429)
    │   └── QueryError        a body that cannot be read without guessing (400, 408, 413, 415)
    ├── BackendError      the backend's: it failed (502) or took too long (504)
    ├── KeyOrderError     the operator's: a key does not stand so that this can be done to it
    ├── RepeatedOrderError    the operator's: an order that is carried out once was given before
    ├── UnknownHolderError    the operator's: there is no such holder, or several
    ├── UnknownCampaignError  the operator's: there is no such campaign
    ├── UnknownIndicatorError the operator's: no indicator is called so, nor who has told one
    ├── UnknownReceiptError   the operator's: it is no receipt of this installation's
    ├── UnknownRequestError   the operator's: nothing is recorded of such a request
    ├── JobError          ours: a process that was to do a part of some work did not
    └── StoreError        ours: Redis did not answer in time, or answered with an error

A refusal is not an error: it is a `Decision`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class GuardError(Exception):
    """Base of every error that guard raises on purpose."""


class ConfigError(GuardError):
    """A setting that cannot work; the message names the setting, the value, and what would be right."""


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Have what is wrong with a file say which setting names the file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("\n".join(f"{setting}: {line}" for line in str(error).splitlines())) from error


class KeyOrderError(GuardError):
    """What was ordered cannot be done to an issued key; the message says why, and what can be."""


class RepeatedOrderError(GuardError):
    """An order that is carried out once was given before, by the same person under the same key."""


class UnknownHolderError(GuardError):
    """Nobody of this name has been seen, or several whose names start so."""


class UnknownCampaignError(GuardError):
    """There is no campaign of this id."""


class UnknownIndicatorError(GuardError):
    """No indicator is called so, nor anybody who has told one."""


class UnknownReceiptError(GuardError):
    """It is no receipt that this installation has given."""


class UnknownRequestError(GuardError):
    """Nothing is recorded of a request of this id."""


class JobError(GuardError):
    """A process that was to do a part of some work has died, or has found something else to do."""


class RequestError(GuardError):
    """A request that guard will not forward, with the HTTP status to answer.

    `message` is shown to the caller, so it never holds a credential or an internal name. `reason` is one
    low-cardinality word for the log and the metrics, by default that of the status. `detail` is for the log
    only, in place of the message.
    """

    reasons: ClassVar[Mapping[int, str]] = {404: "unknown_path", 414: "target_too_long"}

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.reason = reason or self.reasons.get(status, "invalid_request")
        self.detail = detail


class MethodError(RequestError):
    """A path that only other methods have; `allow` are these, as the header of that name says them."""

    reasons: ClassVar[Mapping[int, str]] = {405: "method_not_allowed"}

    def __init__(self, methods: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(methods))
        super().__init__(f"This path takes {self.allow} only.", status=405)


class PathError(RequestError):
    """The path can be read in more than one way (400), leads nowhere (404) or is too long (414)."""

    reasons: ClassVar[Mapping[int, str]] = {
        400: "ambiguous_path",
        404: "unknown_path",
        414: "target_too_long",
    }


class CredentialError(RequestError):
    """The caller cannot be identified: 401 for a bad or missing credential, 400 for an ambiguous one, 403 for
    one that may not be used now or from here, 503 where nobody can tell.
    """

    reasons: ClassVar[Mapping[int, str]] = {400: "ambiguous_credential", 401: "invalid_credential"}


class TooManyTriesError(RequestError):
    """One network has sent too many wrong tokens: 429, with the seconds to wait until the next try."""

    reasons: ClassVar[Mapping[int, str]] = {429: "too_many_tries"}

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("Too many wrong tokens came from this network.", status=429)
        self.wait_seconds = wait_seconds


class QueryError(RequestError):
    """The body cannot be read in exactly one way; `param` names the field where there is one."""

    reasons: ClassVar[Mapping[int, str]] = {
        400: "invalid_body",
        404: "unknown_path",
        408: "body_timeout",
        413: "body_too_large",
        415: "content_encoding",
        429: "too_much_at_once",
        503: "overloaded",
    }


class BackendError(GuardError):
    """The backend gave no answer: `status` is 502 for a failure, 504 for a timeout.

    `reason` is one low-cardinality word for the log and the metrics, by default that of the status.
    `reached` is false where the backend has certainly not got the request, which then costs nothing.
    """

    def __init__(
        self, message: str, *, status: int = 502, reason: str | None = None, reached: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason or ("backend_timeout" if status == 504 else "backend_failed")
        self.reached = reached


DAMAGED = "damaged"
"""The `kind` of a `StoreError` about one value that Redis holds; the store itself is well."""


class StoreError(GuardError):
    """The store could not decide; `kind` is a short, low-cardinality word such as `timeout`."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
