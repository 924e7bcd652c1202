"""A bounded context of somebody else's: one folder of protos, one folder of Python, nothing else."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = "acme.shipping.v1"
CONTEXTS = "acme_contexts"

SERVICES = """\
// Parcels, from the counter to the road.
syntax = "proto3";

package acme.shipping.v1;

import "buf/validate/validate.proto";
import "twofold/v1/command.proto";
import "twofold/v1/options.proto";
import "twofold/v1/reading.proto";

// Takes the commands on parcels.
service CommandService {
  // Books a parcel.
  rpc BookParcel(BookParcelRequest) returns (BookParcelResponse) {
    option (twofold.v1.command) = {existence: EXISTENCE_MUST_NOT_EXIST};
  }
  // Sends a booked parcel on its way.
  rpc DispatchParcel(DispatchParcelRequest) returns (DispatchParcelResponse) {
    option (twofold.v1.command) = {
      existence: EXISTENCE_MUST_EXIST
      rejections: [{reason: "ALREADY_DISPATCHED" description: "the parcel is on its way"}]
    };
  }
}

// Answers questions about parcels.
service QueryService {
  // One parcel.
  rpc GetParcel(GetParcelRequest) returns (GetParcelResponse) {
    option (twofold.v1.query) = {projection: "parcels"};
  }
}

// The command BookParcel.
message BookParcelRequest {
  // The parcel; assigned by the server when left empty.
  string parcel_id = 1 [(twofold.v1.aggregate_id) = true];
  // How heavy it is.
  int32 grams = 2 [(buf.validate.field).int32.gt = 0];
  // Chosen by the caller.
  string request_id = 3;
  // Options that every command accepts.
  twofold.v1.CommandOptions options = 4;
}

// The answer to BookParcel.
message BookParcelResponse {
  // What was stored.
  twofold.v1.Receipt receipt = 1;
}

// The command DispatchParcel.
message DispatchParcelRequest {
  // The parcel.
  string parcel_id = 1 [(twofold.v1.aggregate_id) = true];
  // By which van.
  string van = 2;
  // Chosen by the caller.
  string request_id = 3;
  // Options that every command accepts.
  twofold.v1.CommandOptions options = 4;
}

// The answer to DispatchParcel.
message DispatchParcelResponse {
  // What was stored.
  twofold.v1.Receipt receipt = 1;
}

// Asks for one parcel.
message GetParcelRequest {
  // The parcel.
  string parcel_id = 1;
  // How fresh the answer must be.
  twofold.v1.ReadOptions read_options = 2;
}

// One parcel.
message GetParcelResponse {
  // The parcel.
  string parcel_id = 1;
  // How heavy it is.
  int32 grams = 2;
  // The van that has it; empty before it is dispatched.
  string van = 3;
  // How fresh this answer is.
  twofold.v1.ReadInfo read_info = 4;
}
"""

EVENTS = """\
// What can happen to a parcel.
syntax = "proto3";

package acme.shipping.v1;

import "twofold/v1/options.proto";

// A parcel was booked.
message ParcelBooked {
  option (twofold.v1.event) = {revision: 1};
  // The parcel.
  string parcel_id = 1;
  // How heavy it is.
  int32 grams = 2;
}

// A parcel was dispatched.
message ParcelDispatched {
  option (twofold.v1.event) = {revision: 1};
  // The parcel.
  string parcel_id = 1;
  // By which van.
  string van = 2;
}
"""

MANIFEST = '''\
"""Parcels."""

from dataclasses import dataclass, replace

from sqlalchemy import Integer, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from acme.shipping.v1 import events_pb2 as facts
from acme.shipping.v1 import services_pb2 as pb
from twofold_server.modelling import Context, Decider, NotFound, Projection, Query, Rejected


@dataclass(frozen=True)
class Parcel:
    van: str = ""


def book(command, parcel, given):
    return [facts.ParcelBooked(parcel_id=command.parcel_id, grams=command.grams)]


def dispatch(command, parcel, given):
    if command.van == "broken":
        raise RuntimeError("the secret of the broken van")
    if command.van == "undeclared":
        raise Rejected("VAN_IS_FULL", "a reason that the contract does not know")
    if parcel.van:
        raise Rejected("ALREADY_DISPATCHED", f"the parcel is in van {parcel.van}")
    return [facts.ParcelDispatched(parcel_id=command.parcel_id, van=command.van)]


parcel = Decider(
    category="parcel",
    initial_state=Parcel,
    decide={pb.BookParcelRequest: book, pb.DispatchParcelRequest: dispatch},
    evolve={
        facts.ParcelBooked: lambda parcel, event: parcel,
        facts.ParcelDispatched: lambda parcel, event: replace(parcel, van=event.van),
    },
)


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class ParcelRow(Base):
    __tablename__ = "parcels"
    parcel_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    grams: Mapped[int] = mapped_column(Integer)
    van: Mapped[str] = mapped_column(String(64))


def booked(event, rows):
    rows.add(ParcelRow(event.data.parcel_id, event.data.grams, ""))


def dispatched(event, rows):
    rows.get(ParcelRow, event.data.parcel_id).van = event.data.van


parcels = Projection(
    name="parcels",
    tables=[ParcelRow],
    handlers={facts.ParcelBooked: booked, facts.ParcelDispatched: dispatched},
    prefetch={ParcelRow: lambda event: event.data.parcel_id},
)


def get_parcel(request, connection):
    if request.parcel_id == "broken":
        raise RuntimeError("the secret of the broken parcel")
    found = connection.execute(select(ParcelRow).where(ParcelRow.parcel_id == request.parcel_id)).first()
    if found is None:
        raise NotFound(f"no parcel {request.parcel_id}", reason="PARCEL_NOT_FOUND")
    return pb.GetParcelResponse(parcel_id=found.parcel_id, grams=found.grams, van=found.van)


context = Context(
    package="acme.shipping.v1",
    deciders=[parcel],
    projections=[parcels],
    queries=[Query(request=pb.GetParcelRequest, answer=get_parcel)],
)
'''


class ToyContext:
    """The two folders of a context, and the code that is generated from its protos."""

    def __init__(self, folder: Path, *, services: str = SERVICES, manifest: str = MANIFEST) -> None:
        """Write the two folders."""
        self.protos, self.generated, self.python = folder / "protos", folder / "generated", folder / "python"
        _write(self.protos / "acme/shipping/v1/services.proto", services)
        _write(self.protos / "acme/shipping/v1/events.proto", EVENTS)
        _write(self.python / CONTEXTS / "__init__.py", "")
        _write(self.python / CONTEXTS / "shipping/__init__.py", manifest)

    async def generate(self) -> None:
        """Run the project's own script on the protos, as `make generate` does."""
        script = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROJECT / "scripts/generate.py"),
            *("--protos", str(self.protos), "--out", str(self.generated)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await script.wait() == 0

    @property
    def python_path(self) -> str:
        """What PYTHONPATH must be for a server to find it."""
        outside = os.environ.get("PYTHONPATH", "")
        return os.pathsep.join(filter(None, [str(self.generated), str(self.python), outside]))


class ToyCaller:
    """Calls RPCs by name, with what the descriptor set of the generated code says."""

    def __init__(self, descriptors: Path, channel: grpc.aio.Channel) -> None:
        """``descriptors`` is a FileDescriptorSet with all imports."""
        self._pool = descriptor_pool.DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptors.read_bytes()).file:
            self._pool.Add(file)
        self._channel = channel

    async def call(self, method: str, **fields: Any) -> Mapping[str, Any]:
        """The answer of ``Service.Method`` as JSON values."""
        service, _, name = method.partition(".")
        found: ServiceDescriptor = self._pool.FindServiceByName(f"{PACKAGE}.{service}")
        rpc = found.methods_by_name[name]
        request = message_factory.GetMessageClass(rpc.input_type)
        answer = message_factory.GetMessageClass(rpc.output_type)
        send: Any = self._channel.unary_unary(
            f"/{found.full_name}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        message = json_format.ParseDict(fields, request(), descriptor_pool=self._pool)
        return json_format.MessageToDict(await send(message, timeout=30), descriptor_pool=self._pool)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
