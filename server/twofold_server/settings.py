"""All settings of Twofold: flags, then TWOFOLD_* environment variables, then these defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from twofold_server.errors import StartupError

_PREFIX = "TWOFOLD_"
_EXAMPLES = {
    "max_projection_lag": '{"orders": 50000}',
    "projection_sync": '{"orders": "immediate"}',
    "retention": '{"order_sales": 730}',
}


def _sqlite(file: str) -> Any:
    return Field(default_factory=lambda known: f"sqlite+aiosqlite:///{known.get('data_dir', '.')}/{file}")


class Settings(BaseSettings):
    """Frozen; each field is also the environment variable TWOFOLD_<FIELD> and the flag --<field>."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Path("data")
    """The folder for everything that is kept on this machine; by default `data` below the working folder."""
    event_database_url: str = _sqlite("events.db")
    """URL of the event log: sqlite+aiosqlite:///… or postgresql+asyncpg://…; SQLite in data_dir."""
    read_database_url: str = _sqlite("read.db")
    """URL of the read models, likewise."""

    nats_url: str | None = None
    """NATS to connect to, several servers with commas. Default: none, `twofold up` starts an embedded one."""
    nats_port: int = Field(default=4222, ge=0, le=65535)
    """The port of the embedded NATS on 127.0.0.1; 0 takes any free one."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each published event in the NATS cluster; 1 suits the embedded NATS, 3 a cluster."""
    nats_max_age_days: float = Field(default=0, ge=0)
    """Days for which NATS keeps published events; 0 is for ever. The log keeps them for ever anyway."""
    relay_from_position: int = Field(default=1, ge=1)
    """The first log position that is published when the stream in NATS is missing; 1 is everything."""

    command_address: str = "127.0.0.1:50051"
    """host:port on which the command server listens; port 0 takes any free one."""
    query_address: str = "127.0.0.1:50052"
    """host:port on which the query server listens; port 0 takes any free one."""
    projector_address: str = "127.0.0.1:50053"
    """host:port on which the projector serves operators and health checks; port 0 takes any free one."""
    reuse_port: bool = False
    """Whether several processes may listen on one port (SO_REUSEPORT). Off: a second one is noticed."""

    contexts: Annotated[tuple[str, ...], NoDecode] = ("shop_contexts",)
    """Python packages whose sub-packages are bounded contexts, separated by commas."""

    log_format: Literal["console", "json"] = "console"
    """How log lines look: `console` for people, `json` for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""

    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """The largest gRPC message, in bytes, in each direction."""
    drain_seconds: float = Field(default=10, ge=0)
    """How long a server that stops lets calls finish, in seconds."""
    max_in_flight: int = Field(default=4096, ge=1)
    """Commands, or queries, that one server works on at a time; more are refused as RESOURCE_EXHAUSTED."""
    max_watchers: int = Field(default=1000, ge=1)
    """Calls that watch something on one query server at a time; more are refused as RESOURCE_EXHAUSTED."""
    max_queue_seconds: float = Field(default=5, gt=0)
    """Seconds that a commit may take before new commands are refused as RESOURCE_EXHAUSTED."""
    max_projection_lag: Annotated[dict[str, NonNegativeInt], NoDecode] = Field(default_factory=dict)
    """Back-pressure: commands are refused while a projection is further behind the log than this many
    events, as JSON, for example {"orders": 50000}. Default: none."""
    commit_linger: float = Field(default=0, ge=0, le=1)
    """Seconds that a commit waits for more commands to join; 0 suits disks that sync in less than 5 ms."""
    max_batch: int = Field(default=500, ge=1, le=10_000)
    """Commands that one transaction of the log takes at most."""
    stream_cache: int = Field(default=10_000, ge=0)
    """Aggregates whose state a command server keeps in memory; a small one takes about 2 KB."""
    snapshot_every: int = Field(default=100, ge=0)
    """Events of an aggregate after which its state is stored, so that it loads fast; 0 is never."""
    request_id_days: float = Field(default=7, gt=0)
    """Days for which the answer to a request id is kept, so that a retry is told apart from a new command."""

    projections: Annotated[tuple[str, ...], NoDecode] = ()
    """The projections that this projector works on, separated by commas. Default: all."""
    projection_sync: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """When projections are brought up to date, as JSON, for example {"orders": "immediate"}; also
    `batched(500, 0.2)`, `scheduled(60)` and, where none is named, `eventual`."""
    retention: Annotated[dict[str, NonNegativeFloat], NoDecode] = Field(default_factory=dict)
    """Days for which read models keep rows that may go, as JSON, for example {"order_sales": 730}; 0 is for
    ever. Where none is named, what the read model itself declares."""
    projection_attempts: int = Field(default=5, ge=1, le=100)
    """How often a projection tries an event whose handler fails, before it parks the event's key."""
    projection_retry_seconds: float = Field(default=0.1, ge=0, le=60)
    """The pause before the second attempt; it doubles with each further one, and varies."""
    projection_max_retry_seconds: float = Field(default=5, ge=0, le=3600)
    """The longest pause between two attempts; other events of the projection wait meanwhile."""
    projection_max_parked: int = Field(default=1000, ge=0)
    """Parked keys with which a projection stands still instead of parking more; 0 parks none."""

    cache: Literal["off", "memory", "redis"] = "off"
    """Where a query server keeps answers until their rows change: nowhere, in the process, or there and in a
    Redis that query servers share."""
    cache_url: str = "redis://127.0.0.1:6379/0"
    """URL of that Redis: redis://…, rediss://… or unix://…"""
    cache_ttl: float = Field(default=60, gt=0)
    """Seconds after which an answer is read anew in any case."""
    cache_entries: int = Field(default=10_000, ge=1)
    """Answers that a query server keeps in the process, of 16 KB at most."""
    verify_rows_per_second: float = Field(default=1, ge=0, le=1000)
    """Rows that a projector compares with the log in the background; 0 is none."""

    @field_validator("contexts", "projections", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("max_projection_lag", "projection_sync", "retention", mode="before")
    @classmethod
    def _parse(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"must be JSON, for example {_EXAMPLES[str(info.field_name)]}") from None

    @field_validator("contexts")
    @classmethod
    def _some_context(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one Python package")
        return value

    @field_validator("command_address", "query_address", "projector_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be host:port, for example 127.0.0.1:50051")
        return value

    @field_validator("event_database_url", "read_database_url")
    @classmethod
    def _is_known_database(cls, value: str) -> str:
        if not value.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            raise ValueError("must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        return value

    @field_validator("cache_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @property
    def embedded_nats(self) -> bool:
        """Whether `twofold up` starts a NATS of its own."""
        return self.nats_url is None

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The NATS servers to connect to, as URLs."""
        if self.nats_url is None:
            return (f"nats://127.0.0.1:{self.nats_port}",)
        return tuple(url.strip() for url in self.nats_url.split(",") if url.strip())

    @property
    def sqlite_log(self) -> bool:
        """Whether the event log is a SQLite file, which one command server at a time may write."""
        return self.event_database_url.startswith("sqlite")

    def as_environment(self) -> dict[str, str]:
        """The environment variables that give another process the same settings."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {_PREFIX + name.upper(): _as_text(v) for name, v in values.items() if v is not None}


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def load_settings(**flags: Any) -> Settings:
    """The settings, flags first (None: not given); raises StartupError where a value is wrong."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise StartupError("; ".join(_told(e["loc"], e["msg"]) for e in error.errors())) from None


def _told(where: tuple[int | str, ...], message: str) -> str:
    name = str(where[0]) if where else ""
    message = message.removeprefix("Value error, ")
    return f"the setting {_PREFIX}{name.upper()} is wrong: {message[:1].lower()}{message[1:]}"
