"""The OpenAPI document of the API, made from its endpoints."""

from importlib.metadata import version
from typing import Any

from gateway.web.api import ENDPOINTS, Endpoint

ERRORS = {
    "400": "What was asked for is not understood; `error` says why",
    "401": "Nobody is signed in, and no token was sent",
    "403": "The role or the sites of the user do not allow it",
    "404": "There is no such thing",
    "409": "It does not fit the alarm's state; `code` names why",
    "503": "The database does not answer",
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bollard", "version": version("bollard"),
            "description": "Locks and berths as bollard knows them. It informs; it is no safety function.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
            },
        },
        "security": [{"token": []}],
    }  # fmt: skip


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    schema = endpoint.asks.model_json_schema()
    required = schema.get("required", [])
    said: dict[str, Any] = {"summary": endpoint.summary, "operationId": endpoint.path.strip("/").replace("/", "_")}
    doc = getattr(endpoint.handler, "__doc__", None)
    if isinstance(doc, str) and "partial(" not in doc:
        said["description"] = doc
    parameters = [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ] if "{name}" in endpoint.path else []  # fmt: skip
    if endpoint.method == "GET":
        parameters += [
            {
                "name": n,
                "in": "query",
                "required": n in required,
                "schema": s,
                "description": s.get("description", ""),
            }
            for n, s in schema.get("properties", {}).items()
        ]
    else:
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if parameters:
        said["parameters"] = parameters
    kind = "text/event-stream" if endpoint.path.endswith("/stream") else "application/json"
    good = {"description": "As described", "content": {kind: {}}}
    if "{name}" in endpoint.path or endpoint.path.endswith("/history"):
        good = {"description": "As described"}
    bad = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    said["responses"] = {"200": good} | {
        code: {"description": text, "content": bad} for code, text in ERRORS.items()
    }
    said["x-role"] = endpoint.role
    return said
