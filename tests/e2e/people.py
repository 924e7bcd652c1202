"""A small context in several versions of its contract, each generated and run as a user's own would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.e2e.conditions import until
from tests.e2e.programs import Program
from tests.e2e.systems import SERVING, System, health_of

PROJECT = Path(__file__).parents[2]
PACKAGE = "acme.people.v1"

EVENTS_1 = """
message PersonRegistered {
  option (twofold.v1.event) = {revision: 1};
  string person_id = 1;
  string full_name = 2;
  string town = 3;
}
message PersonWentAway {
  option (twofold.v1.event) = {revision: 1};
  string person_id = 1;
  string town = 2;
}
"""
EVENTS_2 = """
message PersonRegistered {
  option (twofold.v1.event) = {revision: 2};
  string person_id = 1;
  string full_name = 2 [deprecated = true];
  string town = 3 [deprecated = true];
  string first_name = 4;
  string last_name = 5;
  string city = 6;
}
message PersonWentAway {
  option (twofold.v1.event) = {revision: 1};
  option deprecated = true;
  string person_id = 1;
  string town = 2;
}
message PersonMoved {
  option (twofold.v1.event) = {revision: 1};
  string person_id = 1;
  string city = 2;
}
"""
PROTO = """
syntax = "proto3";
package acme.people.v1;
import "twofold/v1/command.proto";
import "twofold/v1/options.proto";
import "twofold/v1/reading.proto";

service CommandService {
  rpc Register(RegisterRequest) returns (RegisterResponse) {
    option (twofold.v1.command) = {existence: EXISTENCE_MUST_NOT_EXIST};
  }
  rpc Move(MoveRequest) returns (MoveResponse) {
    option (twofold.v1.command) = {
      existence: EXISTENCE_MUST_EXIST
      rejections: [{reason: "LIVES_THERE" description: "the person lives there already"}]
    };
  }
}
service QueryService {
  rpc GetPerson(GetPersonRequest) returns (GetPersonResponse) {
    option (twofold.v1.query) = {projection: "people"};
  }
}
message RegisterRequest {
  string person_id = 1 [(twofold.v1.aggregate_id) = true];
  string name = 2;
  string place = 3;
  string request_id = 14;
  twofold.v1.CommandOptions options = 15;
}
message RegisterResponse { twofold.v1.Receipt receipt = 1; }
message MoveRequest {
  string person_id = 1 [(twofold.v1.aggregate_id) = true];
  string place = 2;
  string request_id = 14;
  twofold.v1.CommandOptions options = 15;
}
message MoveResponse { twofold.v1.Receipt receipt = 1; }
message GetPersonRequest {
  string person_id = 1;
  twofold.v1.ReadOptions read_options = 2;
}
message GetPersonResponse {
  string text = 1;
  twofold.v1.ReadInfo read_info = 2;
}
"""
CODE = """
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from acme.people.v1.people_pb2 import *
from twofold_server.modelling import Context, Decider, NotFound, Projection, Query, Rejected, Upcaster


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class PersonRow(Base, kw_only=True):
    __tablename__ = "people"

    person_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


def get_person(request, connection):
    text = connection.execute(select(PersonRow.text).where(PersonRow.person_id == request.person_id)).scalar()
    if text is None:
        raise NotFound(f"no person {request.person_id}", reason="PERSON_NOT_FOUND")
    return GetPersonResponse(text=text)


def note(event, rows, text):
    row = rows.get(PersonRow, event.data.person_id)
    if row is None:
        rows.add(PersonRow(person_id=event.data.person_id, text=text))
    else:
        row.text += text


def context_of(register, move, evolve, handlers, upcasters=()):
    return Context(
        package="acme.people.v1",
        deciders=[
            Decider(
                category="person",
                initial_state=str,
                decide={RegisterRequest: register, MoveRequest: move},
                evolve=evolve,
            )
        ],
        projections=[
            Projection(
                name="people",
                tables=[PersonRow],
                handlers=handlers,
                prefetch={PersonRow: lambda event: event.data.person_id},
            )
        ],
        queries=[Query(request=GetPersonRequest, answer=get_person)],
        upcasters=upcasters,
    )
"""
CODE_1 = """

context = context_of(
    lambda c, state, given: [PersonRegistered(person_id=c.person_id, full_name=c.name, town=c.place)],
    lambda c, state, given: [PersonWentAway(person_id=c.person_id, town=c.place)],
    {PersonRegistered: lambda state, e: e.town, PersonWentAway: lambda state, e: e.town},
    {
        PersonRegistered: lambda e, rows: note(e, rows, f"{e.data.full_name} of {e.data.town}"),
        PersonWentAway: lambda e, rows: note(e, rows, f", went to {e.data.town}"),
    },
)
"""
CODE_2 = """

def register(command, state, given):
    first, _, last = command.name.partition(" ")
    fact = PersonRegistered(person_id=command.person_id, first_name=first, last_name=last, city=command.place)
    return [fact]


def move(command, state, given):
    if command.place == state:
        raise Rejected("LIVES_THERE", f"lives in {state} already")
    return [PersonMoved(person_id=command.person_id, city=command.place)]


def in_two_names(old):
    old.first_name, _, old.last_name = old.full_name.partition(" ")
    old.city = old.town
    old.ClearField("full_name")
    old.ClearField("town")
    return old


context = context_of(
    register,
    move,
    {PersonRegistered: lambda state, e: e.city, PersonMoved: lambda state, e: e.city},
    {
        PersonRegistered: lambda e, rows: note(
            e, rows, f"{e.data.last_name}, {e.data.first_name} of {e.data.city}"
        ),
        PersonMoved: lambda e, rows: note(e, rows, f"; now {e.data.city}"),
    },
    [
        Upcaster(event=PersonRegistered, revision=1, upcast=in_two_names),
        Upcaster(
            event=PersonWentAway,
            revision=1,
            upcast=lambda old: PersonMoved(person_id=old.person_id, city=old.town),
            into=PersonMoved,
        ),
    ],
)
"""


@dataclass(frozen=True)
class Version:
    """A version of the context on disk: its generated code and its Python code."""

    folder: Path

    @classmethod
    def write(cls, folder: Path, *, events: str, code: str) -> Version:
        """Generate a version as a user would, with scripts/generate.py."""
        proto = folder / "protos/acme/people/v1/people.proto"
        context = folder / "code/acme_contexts/people/__init__.py"
        for file, text in {proto: PROTO + events, context: CODE + code}.items():
            file.parent.mkdir(parents=True)
            file.write_text(text)
        (context.parent.parent / "__init__.py").touch()
        subprocess.run(
            [
                sys.executable,
                PROJECT / "scripts/generate.py",
                "--protos",
                folder / "protos",
                "--out",
                folder / "generated",
            ],
            check=True,
            capture_output=True,
        )
        return cls(folder)

    @property
    def python_path(self) -> str:
        """Where its code is found."""
        return os.pathsep.join([str(self.folder / "generated"), str(self.folder / "code")])

    def messages(self) -> dict[str, type[Message]]:
        """Its message classes, kept apart from those of other versions."""
        pool = DescriptorPool()
        image = FileDescriptorSet.FromString((self.folder / "generated/descriptors.binpb").read_bytes())
        for file in image.file:
            pool.Add(file)
        names = [
            message.name for file in image.file if file.package == PACKAGE for message in file.message_type
        ]
        return {name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in names}


class People:
    """A system that runs the context in one version at a time."""

    def __init__(self, system: System) -> None:
        self.system = system

    def start(self, version: Version, *command: str) -> Program:
        """Start `twofold <command>` with a version, and do not wait."""
        environment = self.system.environment(contexts="acme_contexts", nats_url="nats://127.0.0.1:1")
        program = Program(
            [sys.executable, "-m", "twofold_server", *command],
            environment=environment | {"PYTHONPATH": version.python_path},
            folder=self.system.folder,
            name=f"{len(self.system.programs)}-{command[0]}",
        )
        self.system.programs.append(program)
        return program

    async def role(self, version: Version, role: str) -> Program:
        """Run a role and wait until it serves."""
        program, address = self.start(version, role), self.system.address_of(role)

        async def serves_or_ended() -> bool:
            return program.exit_code is not None or await health_of(address) == SERVING

        await until(serves_or_ended, lambda: f"{role} serves: {program.told}", seconds=60)
        assert program.exit_code is None, program.told
        return program

    async def check(self, version: Version, *flags: str) -> Program:
        """Run `twofold contracts check` to its end."""
        program = self.start(version, "contracts", "check", *flags)
        await program.ended()
        return program

    async def check_json(self, version: Version) -> Any:
        """What `twofold contracts check --json` prints."""
        return json.loads("\n".join((await self.check(version, "--json")).out))


@dataclass(frozen=True)
class Caller:
    """Calls the context's services with the messages of one version."""

    system: System
    messages: dict[str, Any]

    async def send(self, method: str, **fields: str) -> Any:
        """Send a command; its receipt."""
        request = self.messages[f"{method}Request"](request_id=str(uuid.uuid4()), **fields)
        address = self.system.command_address
        return (await self._call(address, f"CommandService/{method}", request, f"{method}Response")).receipt

    async def person(self, person_id: str, token: str = "") -> str:
        """What the read model says of a person, once it has what a receipt's token asks for."""
        request = self.messages["GetPersonRequest"](person_id=person_id)
        request.read_options.consistency_token = token
        request.read_options.max_wait.seconds = 20
        answer = await self._call(
            self.system.query_address, "QueryService/GetPerson", request, "GetPersonResponse"
        )
        text: str = answer.text
        return text

    async def _call(self, address: str, method: str, request: Message, response: str) -> Any:
        async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            call: Any = channel.unary_unary(f"/{PACKAGE}.{method}")
            return self.messages[response].FromString(await call(request.SerializeToString(), timeout=30))


def versions(folder: Path, names: Sequence[str]) -> list[Version]:
    """Some of: `first`, `second` (with upcasters), `broken` (a field that stored events carry is gone)."""
    texts = {
        "first": (EVENTS_1, CODE_1),
        "second": (EVENTS_2, CODE_2),
        "broken": (
            EVENTS_2.replace("string town = 3 [deprecated = true];", "reserved 3;"),
            CODE_2.replace("old.city = old.town\n", "\n").replace('    old.ClearField("town")\n', ""),
        ),
    }
    return [Version.write(folder / name, events=texts[name][0], code=texts[name][1]) for name in names]
