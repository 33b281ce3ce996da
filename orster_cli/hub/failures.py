"""What goes wrong with the hub, as errors that say what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orster_cli.core.errors import ConfigError, MissingResourceError, OrsterError
from orster_cli.core.names import printable

NO_REPOSITORY = "E-HUB-REPO"
NO_REVISION = "E-HUB-REVISION"
TOKEN, REFUSED = "E-HUB-TOKEN", "E-HUB-REFUSED"
NETWORK, SERVER = "E-HUB-NETWORK", "E-HUB"

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token from the hub's settings"
_LONGEST = 200  # characters of what the hub or its client say
# the HTTP clients that versions of huggingface_hub are built on
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")

# HTTP status -> code, what is wrong, what to do
_STATUS = {
    401: (TOKEN, "the hub does not accept the token", LOG_IN),
    403: (
        REFUSED,
        "this token may not do that",
        "give a token with the right to write there, or ask the owner of the repository",
    ),
    404: (
        NO_REPOSITORY,
        "not found",
        "check the name; a private repository needs a token: " + LOG_IN,
    ),
    409: (SERVER, "somebody else changes the repository", "run the same command again"),
    412: (SERVER, "the repository was changed meanwhile", "run the same command again"),
    413: (SERVER, "more than the hub takes at once", "push a smaller artifact"),
    429: (SERVER, "too many requests", "wait some minutes, then run the same command again"),
    507: (REFUSED, "no storage is left there", "free some on the hub, or choose another owner"),
}


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turns errors of huggingface_hub about `what` into MissingResourceError, or ConfigError for names
    that it does not take. Others pass: bugs, and what the disk refuses."""
    try:
        yield
    except OrsterError:
        raise
    except Exception as error:
        for cause in _causes(error):
            if (known := _failure(what, cause)) is not None:
                raise known from error
        raise


def no_repository(what: str) -> MissingResourceError:
    """There is no repository `what` that can be seen."""
    _, problem, hint = _STATUS[404]
    return MissingResourceError(f"{what}: {problem} on the hub", hint=hint, code=NO_REPOSITORY)


def no_token(what: str) -> MissingResourceError:
    """Nothing can be written to `what` without a token."""
    return MissingResourceError(f"{what}: there is no token for the hub", hint=LOG_IN, code=TOKEN)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, and what it was raised from: the client wraps errors of its threads."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _failure(what: str, error: BaseException) -> OrsterError | None:
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HFValidationError):
        return ConfigError(f"{what}: {_first_line(error)}", hint="OWNER/NAME, such as me/frog")
    if isinstance(error, hub.RevisionNotFoundError):
        hint = "check the name of the branch, tag or commit; without one it is the main branch"
        return MissingResourceError(f"{what}: no such revision", hint=hint, code=NO_REVISION)
    if isinstance(error, hub.GatedRepoError):
        return MissingResourceError(
            f"{what}: its owner lets in only those who asked",
            hint="ask for access on its page on the hub, then " + LOG_IN,
            code=REFUSED,
        )
    if isinstance(error, hub.RepositoryNotFoundError):  # also 401 without a token
        return no_repository(what)
    if isinstance(error, hub.OfflineModeIsEnabled):
        return MissingResourceError(
            f"{what}: HF_HUB_OFFLINE is set, so the hub is not asked",
            hint="unset HF_HUB_OFFLINE",
            code=NETWORK,
        )
    if isinstance(error, hub.HfHubHTTPError):
        status = getattr(error.response, "status_code", 0)
        problem = f"the hub answers with status {status}: {_said(error)}"
        code, known, hint = _STATUS.get(status, (SERVER, "", "run the same command again later"))
        return MissingResourceError(
            f"{what}: {known + '; ' if known else ''}{problem}", hint=hint, code=code
        )
    if isinstance(error, hub.FileMetadataError):
        hint = "check HF_ENDPOINT, the proxy and the firewall"
        return MissingResourceError(f"{what}: that is no hub", hint=hint, code=NETWORK)
    if _is_of_the_network(error):
        return MissingResourceError(
            f"{what}: the hub cannot be reached: {_first_line(error)}",
            hint="check the network and the proxy (HTTPS_PROXY), then run the same command again",
            code=NETWORK,
        )
    if _is_strange(error):
        return MissingResourceError(
            f"{what}: the hub answers in an unexpected way: {_first_line(error)}",
            hint="run the same command again; check HF_ENDPOINT, and pip install -U huggingface_hub",
            code=SERVER,
        )
    return None


def _is_of_the_network(error: BaseException) -> bool:
    kind = type(error)
    of_client = kind.__module__.partition(".")[0] in _CLIENTS or kind.__name__.startswith("Xet")
    return of_client or isinstance(error, (ConnectionError, TimeoutError))


def _is_strange(error: BaseException) -> bool:
    """Whether the client complains about an answer: a wrong length, no JSON, a key that is missing."""
    incomplete = isinstance(error, OSError) and error.errno is None
    return incomplete or isinstance(error, (ValueError, KeyError))


def _said(error: object) -> str:
    """What the server says, in one line."""
    message = getattr(error, "server_message", None)
    return printable(" ".join(str(message or "").split()))[:_LONGEST] or "no reason is given"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0])[:_LONGEST] if lines else type(error).__name__
