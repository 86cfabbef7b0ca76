"""Class lists: names or a file, as Windows writes it too; bad ones are one line."""

import pytest

from deploy.adopt.class_list import read_class_list
from edge.errors import ConfigError


def test_names_stand_on_the_command_line_however_many():
    many = tuple(f"class-number-{row}" for row in range(80))
    assert read_class_list(",".join(many)) == many
    assert read_class_list("fire, smoke") == ("fire", "smoke")
    assert read_class_list("x" * 300) == ("x" * 300,)
    assert read_class_list("") == ()


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_file_of_windows_has_the_same_names(tmp_path, start):
    path = tmp_path / "names.txt"
    path.write_bytes(start + b"fire\r\nsmoke\r\n\r\n")
    assert read_class_list(str(path)) == ("fire", "smoke")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fire,fire", "'fire' twice"),
        ("fire,", "name 2 is ''"),
        ("fi\x1bre,smoke", "printable"),
        ("a\0b,c", "printable"),
        ("\ufefffire,smoke", "printable"),
        ("missing.txt", "no such file"),
    ],
)
def test_a_name_that_is_none_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        read_class_list(text)


def test_a_file_that_is_no_text_or_empty_is_refused(tmp_path):
    (tmp_path / "utf16.txt").write_bytes("fire\n".encode("utf-16"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_class_list(str(tmp_path / "utf16.txt"))
    with pytest.raises(ConfigError, match="is empty"):
        read_class_list(str(tmp_path / "empty.txt"))
