"""Turn types of Kubernetes, as the client library has them, into schemas of a definition.

A schema names every field with its type, so that a typing error is refused at `kubectl apply`.
Texts that describe Kubernetes' own fields are left out: they are most of the size of such a
definition, and `kubectl explain pod.spec` has them. Lists are plain ones: a merge by key would
refuse what the API server accepts, such as two variables of one name.
"""

import types
import typing
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from lightkube.models import meta_v1

Schema = dict[str, object]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
INTEGER: Final[Schema] = {"type": "integer"}
PORT: Final[Schema] = {"type": "integer", "format": "int32"}
INT_OR_TEXT: Final[Schema] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}
ANY_OBJECT: Final[Schema] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXTS_BY_KEY: Final[Schema] = {"type": "object", "additionalProperties": TEXT}

_PLAIN: Final[Mapping[object, Schema]] = {
    str: TEXT,
    bool: FLAG,
    int: INTEGER,
    float: {"type": "number"},
    dict: TEXTS_BY_KEY,
    # Metadata inside a resource is never more than labels, annotations and a name.
    meta_v1.ObjectMeta: ANY_OBJECT,
}
_QUANTITIES: Final = frozenset({"divisor", "sizeLimit"})
"""Fields of the type Quantity, which the library shows as texts; a number is one too."""
_QUANTITIES_BY_KEY: Final = frozenset({"limits", "requests"})


def object_of(properties: Mapping[str, Schema], *required: str) -> Schema:
    """Return the schema of an object with these fields."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    return {**schema, "required": sorted(required)} if required else schema


def list_of(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def schema_of(model: type) -> Schema:
    """Return the schema of one of Kubernetes' own types, with all that is in it."""
    fields = msgspec.structs.fields(model)
    properties = {each.encode_name: _field(each.encode_name, each.type) for each in fields}
    return object_of(properties, *(each.encode_name for each in fields if each.required))


def _field(name: str, kind: object) -> Schema:
    kind = _required(kind)
    if name in _QUANTITIES:
        return INT_OR_TEXT
    if name in _QUANTITIES_BY_KEY:
        return {"type": "object", "additionalProperties": INT_OR_TEXT}
    if kind in _PLAIN:
        return _PLAIN[kind]
    if typing.get_origin(kind) is list:
        (items,) = typing.get_args(kind)
        return list_of(_field("", items))
    if set(typing.get_args(kind)) == {int, str}:
        return INT_OR_TEXT
    return schema_of(cast("type", kind))


def _required(kind: object) -> object:
    """Return what is left of a type when it must be there."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = tuple(each for each in typing.get_args(kind) if each is not types.NoneType)
        return rest[0] if len(rest) == 1 else typing.Union[rest]  # noqa: UP007 - made at run time
    return kind


def says(description: str, schema: Schema, *rules: tuple[str, str], **more: object) -> Schema:
    """Return a schema with a description, CEL rules with their messages, and other keywords."""
    said: Schema = {**schema, "description": description, **more}
    if rules:
        said["x-kubernetes-validations"] = [
            {"rule": rule, "message": message} for rule, message in rules
        ]
    return said
