"""Settings: flags, then the environment, then defaults; a wrong value is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from twofold_server.errors import StartupError
from twofold_server.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TWOFOLD_{name.upper()}", raising=False)


def test_without_any_setting_everything_is_on_this_machine_in_one_folder() -> None:
    settings = load_settings()
    assert settings.data_dir == Path("data")
    assert settings.event_database_url == "sqlite+aiosqlite:///data/events.db"
    assert settings.read_database_url == "sqlite+aiosqlite:///data/read.db"
    assert settings.embedded_nats
    assert settings.nats_servers == ("nats://127.0.0.1:4222",)
    assert settings.contexts == ("shop_contexts",)
    assert settings.sqlite_log


def test_the_databases_follow_the_data_folder() -> None:
    assert load_settings(data_dir="/srv/x").event_database_url == "sqlite+aiosqlite:////srv/x/events.db"


def test_a_flag_beats_the_environment_which_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOFOLD_NATS_PORT", "5000")
    monkeypatch.setenv("TWOFOLD_LOG_LEVEL", "")
    assert load_settings(nats_port=None).nats_port == 5000
    assert load_settings(nats_port=6000).nats_port == 6000
    assert load_settings().log_level == "info"


def test_contexts_and_nats_servers_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOFOLD_CONTEXTS", "shop_contexts, acme_contexts")
    settings = load_settings(nats_url="nats://a:4222, nats://b:4222")
    assert settings.contexts == ("shop_contexts", "acme_contexts")
    assert settings.nats_servers == ("nats://a:4222", "nats://b:4222")
    assert not settings.embedded_nats


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("nats_port", "many", "input should be a valid integer"),
        ("nats_port", "65536", "input should be less than or equal to 65535"),
        ("command_address", "50051", "must be host:port, for example 127.0.0.1:50051"),
        ("query_address", "127.0.0.1:99999", "must be host:port"),
        ("log_format", "xml", "input should be 'console' or 'json'"),
        ("event_database_url", "mysql://x", "must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://"),
        ("contexts", " , ", "name at least one Python package"),
        ("drain_seconds", "-1", "input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_told_with_its_setting_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"TWOFOLD_{name.upper()}", value)
    with pytest.raises(StartupError) as told:
        load_settings()
    assert str(told.value).startswith(f"the setting TWOFOLD_{name.upper()} is wrong: {why}")
    assert "\n" not in str(told.value)


def test_a_password_in_a_wrong_database_url_is_not_told() -> None:
    with pytest.raises(StartupError) as told:
        load_settings(event_database_url="postgres://me:secret@x/y")
    assert "secret" not in str(told.value)


def test_another_process_gets_the_same_settings_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        data_dir="/x", contexts="a,b", reuse_port=True, drain_seconds=2.5, nats_url="nats://n:1"
    )
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_settings_are_frozen_and_each_is_documented() -> None:
    with pytest.raises(ValidationError):
        load_settings().nats_port = 1
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
