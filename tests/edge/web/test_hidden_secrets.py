"""Secrets of a configuration: no text that is shown has them, and the text that is written has."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.compat import tomllib
from edge.errors import ConfigError
from edge.web.hidden_secrets import SecretKeeper
from edge.web.toml_tokens import read_tokens

TEXT = '''
bind = "tcp://127.0.0.1:*"
node = "gate"  # rtsp://root:hunter2@10.0.0.9/old
[recognition]
key_file = "credential:edge_gallery"
[http]
token_file = "token"
[[cameras]]
name = "door"
source = { kind = "rtsp", url = "rtsp://a:hunter2@10.0.0.7:554/stream1?auth=hunter2", user = "a" }
[[cameras]]
name = 'yard'
[cameras.source]
kind = "http"
url = 'http://10.0.0.8/video'
"password" = """hunter2
hunter2"""
pin = 40441
[[sinks]]
kind = "mqtt"
passwords = ["hunter2", 'hunter2']
token = "${TOKEN}"
'''


def test_secrets_are_not_shown_and_the_rest_is():
    shown = SecretKeeper().hide(TEXT)
    assert "hunter2" not in shown
    assert "40441" not in shown
    assert 'bind = "tcp://127.0.0.1:*"' in shown
    for kept in ("gate", "rtsp://10.0.0.7:554/stream1", "credential:edge_gallery", "${TOKEN}",
                 'token_file = "token"', "http://10.0.0.8/video", 'user = "a"'):  # fmt: skip
        assert kept in shown
    assert tomllib.loads(shown)["cameras"][1]["name"] == "yard"


def test_what_was_shown_becomes_what_it_was():
    keeper = SecretKeeper()
    shown = keeper.hide(TEXT)
    assert keeper.restore(shown, TEXT) == TEXT
    edited = shown.replace('name = "door"', 'name = "x"')
    assert keeper.restore(edited, TEXT) == TEXT.replace('name = "door"', 'name = "x"')


def test_cameras_may_change_places():
    one, two = ('[[cameras]]\npassword = "one-secret"\n', '[[cameras]]\npassword = "two-secret"\n')
    keeper = SecretKeeper()
    shown = [keeper.hide(one + two).partition("[[cameras]]\n")[2]]
    first, second = shown[0].split("[[cameras]]\n")
    swapped = f"[[cameras]]\n{second}[[cameras]]\n{first}"
    assert keeper.restore(swapped, one + two) == two + one


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("10.0.0.7:554", "10.6.6.6:554"),  # its login must not go to another host
        ("password", "node"),  # nor be shown under another key
        ("[hidden ", "[hidden 000000000000] [hidden "),
    ],
)
def test_something_hidden_is_put_back_as_it_was_or_not_at_all(old, new):
    keeper = SecretKeeper()
    shown = keeper.hide(TEXT)
    assert old in shown
    with pytest.raises(ConfigError, match="write the whole value anew"):
        keeper.restore(shown.replace(old, new), TEXT)


def test_what_another_run_hid_is_not_known():
    with pytest.raises(ConfigError, match="not known any more"):
        SecretKeeper().restore(SecretKeeper().hide(TEXT), TEXT)


SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=6)


@given(SECRETS, st.sampled_from(["password", "api_token", "client_secret", "pw"]))
def test_no_password_is_shown_however_it_is_written(secret, key):
    unique = f"s3cr3t{secret}s3cr3t"
    quoted = json.dumps(unique, ensure_ascii=False)
    lines = [f"{key} = {quoted}", f"other = {{ {key} = {quoted} }}"]
    if "'" not in unique:
        lines.append(f"list = {{ {key} = ['{unique}'] }}")
    text = "\n".join(lines)
    tomllib.loads(text)
    keeper = SecretKeeper()
    shown = keeper.hide(text)
    assert "s3cr3t" not in shown
    assert keeper.restore(shown, text) == text


@given(st.text(alphabet="ab=\"'#\\\n[]{}. 1", max_size=60))
def test_tokens_joined_are_the_text(text):
    assert "".join(token.text for token in read_tokens(text)) == text
