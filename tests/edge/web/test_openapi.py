"""The OpenAPI document describes what the server does."""

import jsonschema
import pytest

from tests.support.web_node import make_archive, make_event, make_latest, make_node, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    archive = make_archive(tmp_path_factory.mktemp("openapi"))
    archive.index.put_event(make_event(1))
    with serving(make_node(archive=archive, get_latest=make_latest)) as served:
        yield served


@pytest.fixture(scope="module")
def document(served):
    return served.ask("/api/openapi.json").json


def list_operations(document):
    return [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document):
    assert document["openapi"] == "3.1.0"
    operations = list_operations(document)
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(set(names)) == len(names)
    for path, method, operation in operations:
        assert operation["summary"].endswith("."), (path, method)
        for parameter in operation["parameters"]:
            assert parameter["in"] == "path" or parameter["description"], (path, parameter)


def test_every_type_and_each_of_its_fields_is_described_where_its_name_does_not_say_it(document):
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name


def find_references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from find_references(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_references(value)


def test_every_reference_leads_somewhere(document):
    references = set(find_references(document))
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/events", "/api/v1/events/e00001", "/api/v1/cameras", "/api/v1/cameras/door",
     "/api/v1/health", "/api/v1/session", "/api/v1/cameras/door/places"],
)  # fmt: skip
def test_what_is_answered_fits_its_schema(served, document, path):
    template = path.replace("e00001", "{event_id}").replace("/door", "/{camera}")
    content = document["paths"][template]["get"]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    answer = served.ask(path)
    assert answer.status == 200
    jsonschema.validate(answer.json, schema)


def test_a_problem_fits_its_schema(served, document):
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    jsonschema.validate(served.ask("/api/v1/events/none").json, schema)
