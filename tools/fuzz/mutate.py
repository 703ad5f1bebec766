"""Changes to a file that keep it readable: a field of an ONNX message, a value of a JSON tree.

Bytes changed at random are hardly ever an ONNX file again, so most changes are made inside the
structure; some are bytes all the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message

Bytes = Callable[[bytes, int], bytes]
"""libFuzzer's own mutation: bytes and the most there may be."""

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    16,
    255,
    2**12,  # not 2**16: an image of so many columns is honest work for a minute
    2**31 - 1,
    -(2**31),
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-38, 1e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "../../etc/passwd", "/etc/passwd", "a" * 3000, "<b>&\"'", "\n", "ai.onnx", "Conv")
_INTEGERS = {Field.CPPTYPE_INT32, Field.CPPTYPE_INT64, Field.CPPTYPE_UINT32, Field.CPPTYPE_UINT64}
_REALS = {Field.CPPTYPE_FLOAT, Field.CPPTYPE_DOUBLE}
_OTHER = 0.1  # the share of changes that start from another seed, or are bytes


def model(data: bytes, rng: random.Random, seeds: Sequence[bytes], flip: Bytes) -> bytes:
    """Change one to four fields of an ONNX file; see the module."""
    if rng.random() < _OTHER:
        return flip(data, len(data) + 64)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data if rng.random() > _OTHER else rng.choice(seeds))
    except (DecodeError, ValueError):
        proto.ParseFromString(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        _change_field(proto, rng)
    return proto.SerializeToString()


def tree(data: bytes, rng: random.Random, seeds: Sequence[bytes], flip: Bytes) -> bytes:
    """Change one to four values of a JSON file."""
    if rng.random() < _OTHER:
        return flip(data, len(data) + 64)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = json.loads(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        value = _change_value(value, rng)
    return json.dumps(value).encode()


def raw(data: bytes, rng: random.Random, seeds: Sequence[bytes], flip: Bytes) -> bytes:
    """Change bytes."""
    return flip(data if rng.random() > _OTHER else rng.choice(seeds), len(data) + 64)


def _messages(message: Message) -> Iterator[Message]:
    stack = [message]
    while stack:
        inner = stack.pop()
        yield inner
        for field, value in inner.ListFields():
            if field.cpp_type == Field.CPPTYPE_MESSAGE:
                stack.extend(value if field.is_repeated else [value])


def _change_field(proto: onnx.ModelProto, rng: random.Random) -> None:
    everything = list(_messages(proto))
    message = rng.choice(everything)
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.6 and message.ListFields():  # mostly one that is there
        field = rng.choice(message.ListFields())[0]
    if field.is_repeated:
        _change_list(message, field, everything, rng)
    elif field.cpp_type == Field.CPPTYPE_MESSAGE:
        same = [m for m in everything if m.DESCRIPTOR is field.message_type]
        if same and rng.random() < 0.6:
            getattr(message, field.name).CopyFrom(_copy(rng.choice(same)))
        else:
            message.ClearField(field.name)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        _assign(message, field, _scalar(field, everything, rng))


def _change_list(
    message: Message, field: Any, everything: Sequence[Message], rng: random.Random
) -> None:
    items = getattr(message, field.name)
    action = rng.choice(("drop", "again", "new", "new", "swap"))
    at = rng.randrange(len(items)) if len(items) else 0
    if field.cpp_type == Field.CPPTYPE_MESSAGE:
        same = [m for m in everything if m.DESCRIPTOR is field.message_type]
        if action == "drop" and len(items):
            del items[at]
        elif same:
            items.add().CopyFrom(_copy(rng.choice(same)))
        return
    values = list(items)
    if action == "drop" and values:
        del values[at]
    elif action == "swap" and values:
        other = rng.randrange(len(values))
        values[at], values[other] = values[other], values[at]
    elif action == "new" and values:
        values[at] = _scalar(field, everything, rng)
    else:
        values.insert(at, _scalar(field, everything, rng))
    try:
        message.ClearField(field.name)
        getattr(message, field.name).extend(values)
    except (ValueError, TypeError):  # out of the field's range
        message.ClearField(field.name)


def _copy(message: Message) -> Message:
    """A copy of its own: what is copied may hold the place it is copied to."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _assign(message: Message, field: Any, value: Any) -> None:
    try:
        setattr(message, field.name, value)
    except (ValueError, TypeError):  # out of the field's range
        message.ClearField(field.name)


def _scalar(field: Any, everything: Sequence[Message], rng: random.Random) -> Any:
    if field.cpp_type in _INTEGERS:
        return rng.choice(NUMBERS) if rng.random() < 0.6 else rng.randint(0, 30)
    if field.cpp_type == Field.CPPTYPE_ENUM:
        return rng.choice([v.number for v in field.enum_type.values])
    if field.cpp_type in _REALS:
        return rng.choice(FLOATS)
    if field.cpp_type == Field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.type == Field.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 4, 64)))
    names = [o for m in everything if isinstance(m, onnx.NodeProto) for o in (*m.input, *m.output)]
    ops = [m.op_type for m in everything if isinstance(m, onnx.NodeProto)]
    return rng.choice([*TEXTS, *names, *ops])


def _change_value(value: Any, rng: random.Random) -> Any:
    """The same tree with one place changed, wherever it lies."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _change_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        action = rng.random()
        if action < 0.15:
            return [*value[:at], *value[at + 1 :]]
        if action < 0.3:
            return [*value[:at], value[at], *value[at:]]
        return [*value[:at], _change_value(value[at], rng), *value[at + 1 :]]
    return rng.choice([*NUMBERS, *FLOATS, *TEXTS, None, True, [], {}, [[]], [0, 0], {"": 0}])
