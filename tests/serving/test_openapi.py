"""The OpenAPI document describes exactly the routes there are."""

import re

from openapi_spec_validator import validate


def _routes(app):
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "dashboard.dashboard":
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        yield from ((path, method.lower()) for method in rule.methods - {"HEAD", "OPTIONS"})


def test_every_endpoint_is_documented_and_nothing_else(app, client):
    document = client.get("/v1/openapi.json").get_json()
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == set(_routes(app))


def test_the_document_is_valid_openapi(client):
    validate(client.get("/v1/openapi.json").get_json())


def test_a_prediction_is_as_documented(client, bundle):
    from io import BytesIO

    from jsonschema import validate as check
    from live_line import LINE, png

    schemas = client.get("/v1/openapi.json").get_json()["components"]["schemas"]
    data = {"image": (BytesIO(png()), "part.png"), "line": LINE, "explain": "1"}
    check(client.post("/v1/predict", data=data).get_json(), schemas["Prediction"])
    check(client.post("/v1/predict", data={"line": LINE}).get_json(), schemas["Error"])
