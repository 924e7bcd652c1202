"""What becomes of the errors of databases: which are worth a retry, and what is told of them."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from twofold_server.database import trouble
from twofold_server.database.translation import in_one_line, is_away, translated
from twofold_server.database.trouble import Trouble
from twofold_server.errors import Unavailable


class DriverError(Exception):
    """As asyncpg's, through SQLAlchemy."""

    def __init__(self, sqlstate: str, message: str = "so it is") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def of(kind: type[DBAPIError], sqlstate: str = "") -> DBAPIError:
    return kind("SELECT secret", {"password": "secret"}, DriverError(sqlstate))


AWAY = [of(DBAPIError, "53100"), of(OperationalError), PoolTimeout(), ConnectionResetError(), TimeoutError()]
MISTAKES = [of(IntegrityError), of(ProgrammingError), of(DBAPIError, "22001"), KeyError("x"), ValueError()]


@pytest.mark.parametrize("error", AWAY, ids=repr)
def test_a_database_that_is_away_is_unavailable_and_nothing_is_said_of_why(error: Exception) -> None:
    with pytest.raises(Unavailable) as told, translated():
        raise error
    assert told.value.__cause__ is error
    assert "so it is" not in told.value.message


@pytest.mark.parametrize("error", MISTAKES, ids=repr)
def test_a_mistake_goes_through_as_it_is(error: Exception) -> None:
    assert not is_away(error)
    with pytest.raises(type(error)), translated():
        raise error


def test_the_log_is_told_what_the_driver_said_in_one_line_without_the_statement() -> None:
    assert in_one_line(of(DBAPIError)) == "so it is"
    assert in_one_line(OSError("first line\nsecond line")) == "first line"
    assert in_one_line(TimeoutError()) == "TimeoutError"


def fail(told: Trouble) -> None:
    with pytest.raises(TimeoutError), told.noticed():
        raise TimeoutError


def test_a_trouble_is_told_when_it_begins_now_and_then_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Trouble()
    with capture_logs() as lines:
        for _ in range(3):
            fail(told)
        monkeypatch.setattr(trouble, "SECONDS_BETWEEN", 0)
        fail(told)
        for _ in range(3):
            with told.noticed():
                pass
    assert [line["log_level"] for line in lines] == ["warning", "warning", "info"]


def test_a_mistake_is_no_trouble() -> None:
    told = Trouble()
    with capture_logs() as lines:
        with pytest.raises(IntegrityError), told.noticed():
            raise of(IntegrityError)
        with told.noticed():
            pass
    assert not lines
