"""The OpenAPI document, made from the calls and the types of their messages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

import fastdag
from fastdag.service.calls import ALWAYS, CALLS, EVENTS, JSON, Call
from fastdag.service.messages import ErrorView

Schema = dict[str, Any]


def document() -> Schema:
    """Give the document, of version 3.1."""
    calls = (*CALLS, EVENTS)
    types = {kind for call in calls for kind in (call.takes, call.gives) if kind is not None} | {ErrorView}
    in_order = sorted(types, key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components(in_order, ref_template="#/components/schemas/{name}")
    schema: dict[Any, Schema] = dict(zip(in_order, schemas, strict=True))
    paths: Schema = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, schema, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastdag",
            "version": fastdag.__version__,
            "description": "Units that depend on one another: who may start, who waits, and why.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(call: Call, schema: dict[Any, Schema], components: Schema) -> Schema:
    operation: Schema = {"operationId": call.name, "summary": call.summary}
    if call.takes is not None and call.method == "POST":
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema[call.takes]}}}
    elif call.takes is not None:
        fields = components[call.takes.__name__]
        operation["parameters"] = [
            {"name": name, "in": "query", "required": name in fields.get("required", ()), "schema": field}
            for name, field in fields["properties"].items()
        ]
    operation.setdefault("parameters", []).extend(
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}} for name in call.headers
    )
    content: Schema = {media: {"schema": {"type": "string"}} for media in call.also}
    if call.gives is not None:
        content[JSON] = {"schema": schema[call.gives]}
    operation["responses"] = {"200": {"description": call.summary, "content": content}}
    error = {JSON: {"schema": schema[ErrorView]}}
    for code in sorted((*ALWAYS, *call.errors)):
        operation["responses"][str(code)] = {"description": HTTPStatus(code).phrase, "content": error}
    return operation
