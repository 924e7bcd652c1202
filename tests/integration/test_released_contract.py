"""Today's contract reads every event that the released one could have stored: the gate for `make test`.

`make check` compares the protos with protos/baseline.binpb by buf's rules; this holds them to Twofold's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.appends import append, new_event
from tests.protos import context_of
from twofold_server.contexts import discover
from twofold_server.database import open_database
from twofold_server.event_store.contract_check import check_contracts
from twofold_server.event_store.sql import SqlEventStore
from twofold_server.event_store.sql.contracts import ContractHistory
from twofold_server.messages.contract import EventContract, event_contract
from twofold_server.messages.descriptors import describe_events
from twofold_server.messages.places import map_types

BASELINE = Path(__file__).parents[2] / "protos" / "baseline.binpb"
PACKAGE = "shop.orders.v1"
VARIANTS = 8
"""Events of each type, so that each enum field has each of its values once."""


def released() -> FileDescriptorSet:
    """The contract as it was released last."""
    return FileDescriptorSet.FromString(BASELINE.read_bytes())


def events_of(image: FileDescriptorSet) -> dict[str, list[EventContract]]:
    """The events of a contract by package."""
    pool = DescriptorPool()
    for file in image.file:
        pool.Add(file)
    found: dict[str, list[EventContract]] = {}
    for file in image.file:
        for message in file.message_type:
            kind = GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
            if (event := event_contract(kind)) is not None:
                found.setdefault(file.package, []).append(event)
    return found


def filled(kind: type[Message], variant: int, depth: int = 4) -> Message:
    """A message that carries all of its fields."""
    message = kind()
    descriptor: Any = kind.DESCRIPTOR
    for field in descriptor.fields:
        if (entry := map_types(field)) is not None:
            key = value_of(entry[0], variant, depth)
            if entry[1].message_type:
                getattr(message, field.name)[key].CopyFrom(value_of(entry[1], variant, depth))
            else:
                getattr(message, field.name)[key] = value_of(entry[1], variant, depth)
        elif field.is_repeated:
            getattr(message, field.name).append(value_of(field, variant, depth))
        elif field.message_type and depth:
            getattr(message, field.name).CopyFrom(value_of(field, variant, depth))
        elif not field.message_type:
            setattr(message, field.name, value_of(field, variant, depth))
    return message


def value_of(field: Any, variant: int, depth: int) -> Any:
    if field.message_type:
        return filled(GetMessageClass(field.message_type), variant, depth - 1)
    if field.enum_type:
        return field.enum_type.values[variant % len(field.enum_type.values)].number
    return {
        field.CPPTYPE_STRING: b"x" if field.type == field.TYPE_BYTES else "x",
        field.CPPTYPE_BOOL: True,
    }.get(field.cpp_type, 1)


async def write(store: SqlEventStore, events: Iterable[EventContract]) -> None:
    for event in events:
        await append(
            store,
            "released-1",
            events=[
                new_event(
                    event.type_name,
                    data=filled(event.message, variant).SerializeToString(),
                    revision=event.revision,
                )
                for variant in range(VARIANTS)
            ],
        )


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[ContractHistory]:
    """A log that the released version has written."""
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/events.db") as database:
        store, history = await SqlEventStore.open(database), ContractHistory(database)
        for package, events in events_of(released()).items():
            await write(store, events)
            await history.accept([describe_events(package, (event.message for event in events))])
        yield history


async def test_todays_contract_reads_all_that_the_released_one_stored(history: ContractHistory) -> None:
    findings = await check_contracts([contract for _, contract in discover(["shop_contexts"])], history)
    assert [str(each) for each in findings.breaks] == []
    assert findings.accepted.keys() <= findings.today.keys()
    assert PACKAGE in findings.accepted


async def test_a_contract_without_a_released_field_does_not(history: ContractHistory) -> None:
    image = released()
    [file] = [file for file in image.file if file.name == "shop/orders/v1/events.proto"]
    [created] = [message for message in file.message_type if message.name == "OrderCreated"]
    [address] = [field for field in created.field if field.name == "shipping_address"]
    created.field.remove(address)
    today = context_of([event.message for event in events_of(image)[PACKAGE]], package=PACKAGE)
    assert [str(each) for each in (await check_contracts([today], history)).breaks] == [
        "field 4 (shipping_address) of shop.orders.v1.OrderCreated was removed; 8 stored events carry it"
    ]
