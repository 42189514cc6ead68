"""The OpenAPI description of `maskmill serve`, as /openapi.json gives it."""

from typing import Any

from maskmill.pipeline.runs.record import tool_version

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_WHOLE: Schema = {"type": "integer"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_PICTURE: Schema = {"description": "The file, as it is: JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, …"}


def openapi_document() -> Schema:
    """OpenAPI 3.1: every path, what it takes, and what it answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskmill serve",
            "version": tool_version(),
            "description": "Semantic segmentation of single pictures, and the Label Studio ML "
            "backend contract. Limits are those of the command: a larger body is answered 413, "
            "more requests than may wait 503, what takes too long 504.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/health": {"get": _health("health")},
            "/": {"get": _health("root")},
            "/versions": {
                "get": _operation(
                    "versions", "The model version there is", {"200": _ok("Versions")}
                )
            },
            "/setup": {
                "post": _operation(
                    "setup",
                    "Label Studio: does the model suit this project?",
                    {"200": _ok("Setup"), **_errors("400", "413", "504")},
                    _json_body("SetupRequest"),
                )
            },
            "/webhook": {
                "post": _operation(
                    "webhook",
                    "Label Studio: something happened in a project; nothing is kept of it",
                    {"200": _ok("Nothing"), **_errors("400", "413", "504")},
                    _json_body("Event"),
                )
            },
            "/openapi.json": {
                "get": _operation("openapi", "This document", {"200": _ok("Document")})
            },
        },
        "components": {"schemas": {**_label_studio_schemas(), **_answer_schemas()}},
    }


def _predict() -> Schema:
    answers = {
        "200": {
            "description": "For a picture the mask, or with `Accept: application/json` a COCO "
            "document; for tasks one prediction each, in their order.",
            "headers": {"X-Model-Version": {"schema": _TEXT}},
            "content": {
                "image/png": {
                    "schema": {
                        "description": "Palette PNG of the picture's size after EXIF orientation; "
                        "value = class index, 255 (65535 beyond 255 classes) = ignore."
                    }
                },
                "application/json": {
                    "schema": {"oneOf": [_reference("Coco"), _reference("Predictions")]}
                },
            },
        },
        **_errors("400", "406", "413", "415", "422", "503", "504"),
    }
    body = {
        "required": True,
        "content": {
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": _PICTURE},
                    "required": ["image"],
                }
            },
            "application/json": {"schema": _reference("PredictRequest")},
        },
    }
    summary = "Label a picture, or the pictures of Label Studio's tasks"
    return _operation("predict", summary, answers, body)


def _health(name: str) -> Schema:
    return _operation(name, "Whether the network is there, and which", {"200": _ok("Health")})


def _operation(name: str, summary: str, responses: Schema, body: Schema | None = None) -> Schema:
    request = {"requestBody": body} if body else {}
    return {"operationId": name, "summary": summary, **request, "responses": responses}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _ok(name: str) -> Schema:
    return {
        "description": "Done",
        "content": {"application/json": {"schema": _reference(name)}},
    }


def _json_body(name: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _reference(name)}}}


def _errors(*statuses: str) -> Schema:
    described = {
        "400": "Not a request that is understood, or one that this server was not started for",
        "406": "No answer of a type that is accepted",
        "413": "More bytes or pixels than are taken",
        "415": "A body of another type",
        "422": "The file is no picture, or is damaged",
        "503": "Too many requests wait; ask again after Retry-After seconds",
        "504": "Not done within the time limit",
    }
    content = {"application/json": {"schema": _reference("Error")}}
    return {one: {"description": described[one], "content": content} for one in statuses}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _prediction_schemas() -> Schema:
    region = _object(
        ("id", "type", "from_name", "to_name", "original_width", "original_height", "value"),
        id=_TEXT,
        type={"enum": ["brushlabels", "polygonlabels"]},
        from_name=_TEXT,
        to_name=_TEXT,
        original_width=_WHOLE,
        original_height=_WHOLE,
        image_rotation=_WHOLE,
        value={"type": "object"},
        score=_NUMBER,
    )
    prediction = _object(
        ("result", "model_version", "left_out"),
        result={"type": "array", "items": _reference("Region")},
        score=_NUMBER,
        model_version=_TEXT,
        left_out={**_TEXTS, "description": "Classes in the mask for which there is no label"},
    )
    return {"Prediction": prediction, "Region": region}


def _label_studio_schemas() -> Schema:
    failure = _reference("Error")
    task = _object(("data",), id=_WHOLE, data={"type": "object"})
    return {
        "PredictRequest": _object(
            ("tasks", "label_config"),
            tasks={"type": "array", "items": task},
            label_config={**_TEXT, "description": "The project's labelling config, XML"},
        ),
        "Predictions": _object(
            ("results", "model_version"),
            results={
                "type": "array",
                "items": {"oneOf": [_reference("Prediction"), failure]},
            },
            model_version=_TEXT,
        ),
        **_prediction_schemas(),
        "SetupRequest": _object(("schema",), schema=_TEXT, project=_TEXT, hostname=_TEXT),
        "Setup": _object(
            ("model_version", "labels", "left_out"),
            model_version=_TEXT,
            labels={"type": "object", "additionalProperties": _TEXT},
            left_out=_TEXTS,
        ),
        "Event": _object((), action=_TEXT),
        "Nothing": _object(("result",), result=_TEXT),
        "Versions": _object(("versions",), versions=_TEXTS),
    }


def _answer_schemas() -> Schema:
    numbers = {"type": "array", "items": _NUMBER}
    rle = _object(("size", "counts"), size={"type": "array", "items": _WHOLE}, counts=_TEXT)
    annotation = _object(
        ("id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"),
        id=_WHOLE,
        image_id=_WHOLE,
        category_id=_WHOLE,
        segmentation=rle,
        area=_WHOLE,
        bbox={**numbers, "minItems": 4, "maxItems": 4},
        iscrowd=_WHOLE,
        score=_NUMBER,
    )
    picture = {"id": _WHOLE, "file_name": _TEXT, "width": _WHOLE, "height": _WHOLE}
    image = _object(tuple(picture), **picture)
    category = _object(("id", "name"), id=_WHOLE, name=_TEXT, supercategory=_TEXT)
    return {
        "Coco": _object(
            ("info", "images", "categories", "annotations"),
            info={"type": "object"},
            images={"type": "array", "items": image},
            categories={"type": "array", "items": category},
            annotations={"type": "array", "items": annotation},
        ),
        "Health": _object(
            ("status", "model_class", "model_version", "device", "classes", "waiting"),
            status={"const": "UP"},
            model_class=_TEXT,
            model_version=_TEXT,
            device=_TEXT,
            classes=_TEXTS,
            waiting=_WHOLE,
        ),
        "Document": {"type": "object"},
        "Error": _object(("error",), error=_object(("code", "message"), code=_TEXT, message=_TEXT)),
    }
