"""Everything that can go wrong and that a caller is told about; the gRPC edge gives each its status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class TwofoldError(Exception):
    """An error with a message in plain words, a stable reason and its facts.

    ``reason`` is UPPER_SNAKE_CASE and becomes ErrorInfo.reason; ``metadata`` becomes ErrorInfo.metadata.
    """

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidRequest(TwofoldError):
    """The request itself is wrong, whatever the state: each violation is (field path, description)."""

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[tuple[str, str]] = (),
        reason: str = "INVALID_REQUEST",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class NotFound(TwofoldError):
    """No such aggregate, stream or row."""


class AlreadyExists(TwofoldError):
    """An aggregate with this id exists already."""


class Rejected(TwofoldError):
    """The state of the aggregate forbids the command, for one of the RPC's declared reasons."""

    def __init__(self, reason: str, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, reason=reason, metadata=metadata)


class VersionConflict(TwofoldError):
    """The stream has another version than the caller decided on."""

    def __init__(self, stream_name: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{stream_name} has version {actual}, not {expected}; read it again, decide again and retry",
            reason="VERSION_CONFLICT",
            metadata={"stream_name": stream_name, "expected": str(expected), "actual": str(actual)},
        )


class Contention(TwofoldError):
    """Other writers were faster each time that the command was decided."""

    def __init__(self, stream_name: str, *, attempts: int) -> None:
        super().__init__(
            f"{stream_name} changes faster than this command could be decided, {attempts} times over; retry",
            reason="CONTENTION",
            metadata={"stream_name": stream_name, "attempts": str(attempts)},
        )


class ProjectionLag(TwofoldError):
    """The read model is behind the consistency token and the caller did not want a stale answer."""

    def __init__(self, projection: str, *, want: int, have: int) -> None:
        super().__init__(
            f"the read model {projection} is at position {have}, the token asks for {want}; retry shortly",
            reason="PROJECTION_LAG",
            metadata={"projection": projection, "want": str(want), "have": str(have)},
        )


class OtherReadModel(TwofoldError):
    """The read model was filled by another version of its projection than this process knows."""

    def __init__(self, projection: str, *, has: int, wanted: int) -> None:
        super().__init__(
            f"the read model {projection} is of version {has}, this server answers from version {wanted}; "
            f"ask a server of version {has}, or retry when version {wanted} has been built",
            reason="READ_MODEL_VERSION",
            metadata={"projection": projection, "has": str(has), "wanted": str(wanted)},
        )


class TooLarge(TwofoldError):
    """A message is larger than the server takes."""


class Overloaded(TwofoldError):
    """Refused before any work was done, because there is too much of it; worth a retry."""


class Unavailable(TwofoldError):
    """A store or a peer is away for the moment; worth a retry."""


class StartupError(Exception):
    """A process cannot start; the message is one line that says why and what to do."""
