"""Any messages, from their descriptors: such as keep the rules of the contract, and such as do not.

The rules are those of protovalidate, as far as the contract uses them, and ``(twofold.v1.money)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from buf.validate import validate_pb2

Values = st.SearchStrategy[Any]
_LONGEST_TEXT = 60
_MOST_ITEMS = 4
_DEEPEST = 5
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: ("uint64", 0, 2**64 - 1),
}
_characters = st.characters(codec="utf-8", exclude_characters="\0")
_wild_text = st.one_of(
    st.text(max_size=_LONGEST_TEXT),
    st.just("\0"),
    st.just("x" * 3000),
    st.uuids().map(str),
    st.just("-"),
    st.just("%"),
)


class RandomMessages:
    """Strategies for messages."""

    def __init__(
        self, *, ids: Sequence[str], projections: Sequence[str] = (), packed: Sequence[Descriptor]
    ) -> None:
        """``ids`` and ``projections`` are worth asking for; ``packed`` stand where any message may stand."""
        self._ids = st.sampled_from(list(ids)) if ids else st.nothing()
        self._projections = st.sampled_from(list(projections)) if projections else st.nothing()
        self._packed = packed
        self._known: dict[tuple[str, bool], Values] = {}

    def of(self, descriptor: Descriptor, *, honest: bool) -> Values:
        """Messages that keep the rules, or that break some of them mostly."""
        return self._messages(descriptor, honest, 0)

    def _messages(self, descriptor: Descriptor, honest: bool, depth: int) -> Values:
        key = (descriptor.full_name, honest)
        if key not in self._known:
            self._known[key] = self._made(descriptor, honest, depth)
        return self._known[key]

    def _made(self, descriptor: Descriptor, honest: bool, depth: int) -> Values:
        special = {
            "google.type.Money": self._money,
            "google.protobuf.Any": self._any,
            "google.protobuf.Duration": self._duration,
        }.get(descriptor.full_name)
        if special is not None:
            return special(honest, descriptor, depth)
        needed: dict[str, Values] = {}
        optional: dict[str, Values] = {}
        for field in descriptor.fields:
            if field.message_type is not None and depth >= _DEEPEST:
                continue
            values = self._values_of(field, honest, depth)
            (needed if _is_needed(field) else optional)[field.name] = values
        whole = _build(descriptor, needed, optional)
        return whole if honest else st.one_of(whole, whole, _build(descriptor, {}, needed | optional))

    def _values_of(self, field: FieldDescriptor, honest: bool, depth: int) -> Values:
        rules = _rules(field)
        of_one = rules.repeated.items if field.is_repeated else rules
        one = self._one(field, of_one, honest, depth)
        if not honest and field.message_type is None:
            right = self._one(field, of_one, True, depth)
            one = st.one_of(right, right, right, self._one(field, validate_pb2.FieldRules(), False, depth))
        if not field.is_repeated:
            return one
        least = rules.repeated.min_items if honest else 0
        return st.lists(one, min_size=least, max_size=max(least, _MOST_ITEMS))

    def _one(self, field: FieldDescriptor, rules: Any, honest: bool, depth: int) -> Values:
        kind = field.cpp_type
        if field.message_type is not None:
            return self._messages(field.message_type, honest, depth + 1)
        if kind in _INTEGERS:
            return _integers(*_INTEGERS[kind], rules)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            known = st.sampled_from([value.number for value in field.enum_type.values])
            return known if honest else st.one_of(known, st.integers(-(2**31), 2**31 - 1))
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=_LONGEST_TEXT)
        assert kind == FieldDescriptor.CPPTYPE_STRING, field.full_name
        texts = self._texts(rules, honest)
        if field.name == "projection" and not honest:  # what else is right depends on the projection
            return st.one_of(self._projections, self._projections, texts)
        return texts

    def _texts(self, rules: Any, honest: bool) -> Values:
        text = rules.string
        if text.uuid or any(rule.id == "uuid.lower" for rule in rules.cel):
            fresh = st.uuids().map(str)
            return st.one_of(self._ids, fresh) if not text.uuid else fresh
        if text.pattern:
            return st.from_regex(text.pattern, fullmatch=True)
        if not honest:
            return _wild_text
        most = min(text.max_len or _LONGEST_TEXT, _LONGEST_TEXT)
        return st.text(_characters, min_size=text.min_len, max_size=max(most, text.min_len))

    def _money(self, honest: bool, descriptor: Descriptor, depth: int) -> Values:
        if honest:
            currencies, units, nanos = (
                st.sampled_from(["EUR", "USD"]),
                st.integers(0, 100),
                st.integers(0, 999_999_999),
            )
        else:
            currencies, units = _wild_text, st.integers(-(2**63), 2**63 - 1)
            nanos = st.integers(-(2**31), 2**31 - 1)
        return _build(descriptor, {"currency_code": currencies, "units": units, "nanos": nanos}, {})

    def _duration(self, honest: bool, descriptor: Descriptor, depth: int) -> Values:
        if honest:
            return _build(descriptor, {}, {"nanos": st.integers(0, 999_999_999)})
        wild = {"seconds": st.integers(-(2**63), 2**63 - 1), "nanos": st.integers(-(2**31), 2**31 - 1)}
        return _build(descriptor, {}, wild)

    def _any(self, honest: bool, descriptor: Descriptor, depth: int) -> Values:
        packed = st.one_of(*(self._messages(each, honest, depth + 1) for each in self._packed)).map(
            lambda message: _pack(descriptor, message)
        )
        if honest:
            return packed
        return st.one_of(
            packed, _build(descriptor, {}, {"type_url": _wild_text, "value": st.binary(max_size=60)})
        )


def spoilt(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Serialized messages with a few bytes changed, left out, doubled or put in; or no messages at all."""
    edits = st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from("sdci"), st.binary(max_size=9)), max_size=4
    )
    return st.one_of(st.binary(max_size=200), st.builds(_edited, content, edits))


def _edited(content: bytes, edits: Sequence[tuple[int, str, bytes]]) -> bytes:
    for where, how, new in edits:
        at = where % (len(content) + 1)
        rest = {
            "s": content[at + len(new) :],
            "d": content[at + 1 :],
            "c": content[max(0, at - 8) :],
            "i": content[at:],
        }
        content = content[:at] + (new if how in "si" else b"") + rest[how]
    return content


def _build(descriptor: Descriptor, needed: dict[str, Values], optional: dict[str, Values]) -> Values:
    made = GetMessageClass(descriptor)
    oneofs = [[field.name for field in each.fields] for each in descriptor.oneofs]

    def build(values: dict[str, Any]) -> Message:
        for names in oneofs:
            for name in [name for name in names if name in values][1:]:
                del values[name]
        return made(**values)

    return st.fixed_dictionaries(needed, optional=optional).map(build)


def _pack(descriptor: Descriptor, message: Message) -> Message:
    packed: Any = GetMessageClass(descriptor)()
    packed.Pack(message)
    return packed  # type: ignore[no-any-return]


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def _is_needed(field: FieldDescriptor) -> bool:
    rules = _rules(field)
    text, number = rules.string, max(_least(rules.int32, 0), _least(rules.int64, 0))
    of_text = text.pattern or text.min_len or rules.cel or text.uuid
    may_be_left_out = rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
    needed = rules.required or rules.repeated.min_items or number > 0 or of_text
    return bool(needed) and not may_be_left_out


def _least(bounds: Any, otherwise: int) -> int:
    if bounds.HasField("gt"):
        return int(bounds.gt) + 1
    return int(bounds.gte) if bounds.HasField("gte") else otherwise


def _integers(name: str, least: int, most: int, rules: Any) -> Values:
    bounds = getattr(rules, name)
    least = _least(bounds, least)
    if bounds.HasField("lte"):
        most = bounds.lte
    return st.one_of(
        st.integers(least, most), st.integers(max(least, 0), min(most, max(least, 3))), st.just(most)
    )
