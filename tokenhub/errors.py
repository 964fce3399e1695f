"""The whole exception tree. HTTP status codes are not here: they live in `blueprints/errors.py`.

TokenHubError(code, message)            message is safe to show and teaches the fix
├── InvalidRequest(param, fields)       the caller's body, value or directive is wrong
│   ├── PayloadTooLarge
│   ├── UnsupportedMediaType
│   └── RequestTimeout                  the body came too slowly
├── Unauthenticated                     no, wrong, disabled, expired key or token: all alike
├── Forbidden                           the key is good, the scope or model is not
├── NotFound                            not there, or not yours
├── Conflict                            edit conflict
├── RateLimited(retry_after_s)
├── SpendLimitReached                   a retry does not cure it
├── FeatureUnavailable                  not built yet, or not offered
├── Unavailable(retry_after_s)          state or store down, shedding: come back
├── DeadlineExceeded                    the whole request took too long
├── Interruption                        the request is ended from outside, wherever it is
│   ├── ClientGone                      the caller hung up; nobody is left to answer
│   └── Stopping(retry_after_s)         the server stops and cannot wait for the end
├── RoutingError
│   ├── NoEligibleModel(rejections)     every model with its reason
│   └── AllAttemptsFailed(attempts, cause)
└── ProviderError(status, blame, ...)   never crosses a blueprint raw
    ├── ContextOverflow
    ├── ProviderRateLimited(retry_after_s)
    ├── ProviderTransient
    ├── ProviderFatal
    └── ProviderBudgetExceeded
ConfigurationError(name, message)       start-up and reload only: one clear line, exit code 2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Blame = Literal["caller", "target", "provider"]
"""Whose doing a provider failure is: the caller's (stop, give back their 4xx), this target's (try the next
one), or the whole provider's (skip all its targets)."""


class TokenHubError(Exception):
    """Base of everything TokenHub raises on purpose; `code` is stable, `message` is safe to show."""

    default_code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidRequest(TokenHubError):
    """The caller sent something wrong. `param` names the field; `fields` maps path -> messages for forms."""

    default_code = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.param = param
        self.fields = fields


class PayloadTooLarge(InvalidRequest):
    """The body is larger than the server takes."""

    default_code = "payload_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The body is not JSON, or is encoded in a way that is not taken."""

    default_code = "unsupported_media_type"


class RequestTimeout(InvalidRequest):
    """The body did not come in time."""

    default_code = "request_timeout"


class Unauthenticated(TokenHubError):
    """No usable credential. The message never says which part was wrong."""

    default_code = "invalid_api_key"


class Forbidden(TokenHubError):
    """The credential is good, but not for this."""

    default_code = "permission_denied"


class NotFound(TokenHubError):
    """There is no such thing, or it belongs to somebody else."""

    default_code = "not_found"


class Conflict(TokenHubError):
    """The change collides with another one, or with what exists."""

    default_code = "conflict"


class RateLimited(TokenHubError):
    """Too many requests; `retry_after_s` is truthful."""

    default_code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class SpendLimitReached(TokenHubError):
    """The key's budget cannot cover this request. A retry does not help before the budget is raised."""

    default_code = "insufficient_quota"


class FeatureUnavailable(TokenHubError):
    """Named in the interface, not offered here (yet)."""

    default_code = "not_available"


class Unavailable(TokenHubError):
    """Something that this request needs is down; `retry_after_s` is a guess."""

    default_code = "service_unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(TokenHubError):
    """The whole request took longer than TOKENHUB_REQUEST_TIMEOUT_SECS."""

    default_code = "deadline_exceeded"


class Interruption(TokenHubError):
    """The request is ended from outside while it waits for something."""

    default_code = "interrupted"


class ClientGone(Interruption):
    """The caller closed the connection before the answer was there."""

    default_code = "client_closed_request"


class Stopping(Interruption):
    """The server stops and the answer is not complete; asked again, another one answers."""

    default_code = "server_stopping"
    retry_after_s = 1.0


class RoutingError(TokenHubError):
    """No answer could be had from any model."""

    default_code = "routing_failed"


class NoEligibleModel(RoutingError):
    """Every model was rejected before anything was sent. `blame` is "caller" if their limits did it, "server"
    if health or configuration did."""

    default_code = "no_eligible_model"

    def __init__(self, message: str, *, rejections: Sequence[Any], blame: Literal["caller", "server"]) -> None:
        super().__init__(message)
        self.rejections = rejections
        self.blame = blame


class AllAttemptsFailed(RoutingError):
    """Every attempt failed; `cause` is the failure that explains the rest, `attempts` all of them in order."""

    default_code = "all_attempts_failed"

    def __init__(self, message: str, *, attempts: Sequence[Any], cause: ProviderError) -> None:
        is_callers = cause.blame == "caller" or isinstance(cause, ContextOverflow)
        super().__init__(message, code=cause.code if is_callers else None)
        self.param = cause.param if is_callers else None
        self.attempts = attempts
        self.cause = cause


class ProviderError(TokenHubError):
    """A provider did not answer as asked.

    `status` is the upstream's HTTP status, None where none arrived. `doubtful` is True where the body was sent
    and no answer came, so that the provider may have worked (and charged) for it. `message` may be shown to the
    caller: it is scrubbed of keys before it gets here.
    """

    default_code = "provider_error"
    default_blame: Blame = "target"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        blame: Blame | None = None,
        retry_after_s: float | None = None,
        doubtful: bool = False,
        param: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.blame: Blame = blame or self.default_blame
        self.retry_after_s = retry_after_s
        self.doubtful = doubtful
        self.param = param


class ContextOverflow(ProviderError):
    """The conversation does not fit the model's context."""

    default_code = "context_length_exceeded"


class ProviderRateLimited(ProviderError):
    """The provider asks to slow down; `retry_after_s` where it said for how long."""

    default_code = "provider_rate_limited"


class ProviderTransient(ProviderError):
    """Connection trouble, a timeout, a 5xx or a broken stream: another target may do."""

    default_code = "provider_unavailable"


class ProviderFatal(ProviderError):
    """Not cured by asking again: a refused request (blame "caller"), an unknown model (blame "target"), a refused
    credential (blame "provider")."""

    default_code = "provider_rejected"


class ProviderBudgetExceeded(ProviderError):
    """Our account at the provider is out of money or quota."""

    default_code = "provider_budget_exceeded"
    default_blame: Blame = "provider"


class ConfigurationError(TokenHubError):
    """A setting, file or folder is not usable. `name` is the variable or path; shown as one line at start."""

    default_code = "configuration_error"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
