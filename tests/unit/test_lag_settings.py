"""TWOFOLD_MAX_PROJECTION_LAG: JSON in the environment, and every mistake in it told at start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from twofold_server.app.command_server import command_server
from twofold_server.errors import StartupError
from twofold_server.settings import load_settings

NAME = "TWOFOLD_MAX_PROJECTION_LAG"


def test_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, '{"orders": 50000, "sales": 0}')
    assert load_settings().max_projection_lag == {"orders": 50_000, "sales": 0}


def test_no_projection_has_a_limit_unless_it_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "")
    assert load_settings().max_projection_lag == {}


@pytest.mark.parametrize(
    "value", ["orders", "{'orders': 3}", '["orders"]', '{"orders": -1}', '{"orders": "x"}']
)
def test_what_is_wrong_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(StartupError) as told:
        load_settings()
    assert str(told.value).startswith(f"the setting {NAME} is wrong: ")
    assert "\n" not in str(told.value)


def test_another_process_gets_it_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"orders": 3, "sales": 4}
    monkeypatch.setenv(NAME, load_settings(max_projection_lag=limits).as_environment()[NAME])
    assert load_settings().max_projection_lag == limits


def test_a_projection_that_there_is_none_of_stops_the_start(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path, command_address="127.0.0.1:0", max_projection_lag={"ordres": 3}
    )
    with pytest.raises(StartupError, match=f"{NAME} names the projection ordres; there are order_sales"):
        asyncio.run(command_server(settings, asyncio.Event()))
    assert not any(tmp_path.iterdir()), "nothing was opened"
