"""Errors: fields that say where, a message that a person can read, exit codes."""

import pickle

import pytest

from edge.errors import ConfigError, EngineError, GalleryError, ModelError, locate


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModelError("is empty"), "is empty"),
        (ModelError("is empty", file="m.onnx"), "m.onnx: is empty"),
        (ConfigError("must be above 0", file="a.toml", line=3, key="cameras[0].fps"),
         "a.toml:3: cameras[0].fps: must be above 0"),
        (ConfigError("is unknown", camera="door", key="labels"),
         "camera 'door': labels: is unknown"),
    ],
)  # fmt: skip
def test_the_message_names_what_is_known(error, text):
    assert str(error) == text
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_a_key_goes_in_front_of_the_key_inside():
    with pytest.raises(ConfigError) as caught, locate(key="sinks[0]"):
        raise ConfigError("has no port", key="bind")
    assert caught.value.key == "sinks[0].bind"


def test_the_file_of_a_model_stays_readable_where_the_configuration_names_it():
    with (
        pytest.raises(ModelError) as caught,
        locate(file="gate.toml", line=5),
        locate(key="models.detector"),
    ):
        raise ModelError("is empty", file="m.onnx")
    assert str(caught.value) == "gate.toml:5: models.detector: m.onnx: is empty"
    assert caught.value.file == "gate.toml"


def test_fields_that_are_known_are_kept():
    with pytest.raises(ConfigError) as caught, locate(camera="yard", line=9):
        raise ConfigError("is wrong", camera="door", line=2)
    assert (caught.value.camera, caught.value.line) == ("door", 2)


@pytest.mark.parametrize("kind", [ModelError, EngineError, GalleryError])
def test_what_is_wrong_with_a_file_is_not_a_wrong_configuration_but_ends_alike(kind):
    assert not issubclass(kind, ConfigError)
    assert kind.exit_code == ConfigError.exit_code == 78
