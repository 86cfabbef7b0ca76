"""The list of licenses is that of what is locked, and says what the packages say."""

import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("docs_licenses", ROOT / "docs" / "licenses.py")
licenses = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(licenses)


def test_every_locked_package_is_listed_with_a_license_and_no_other():
    assert list(licenses.read_page()) == licenses.list_packages(), "run make licenses"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="older versions say it in other words")
def test_the_page_says_what_the_installed_packages_say():
    assert licenses.PAGE.read_text(encoding="utf-8") == licenses.generate(), "run make licenses"
    assert licenses.read_license("numpy"), f"numpy {version('numpy')} tells its license"


def test_a_bill_of_materials_gets_licenses_and_names_no_address(tmp_path):
    path = tmp_path / "bill.json"
    part = {"bom-ref": "l1", "name": "rich", "description": "requirements line 1", "hashes": []}
    windows = {"bom-ref": "l2", "name": "pyreadline3"}
    tool = {"name": "maker", "externalReferences": [{"url": "https://maker.example"}]}
    bill = {
        "components": [part, windows],
        "dependencies": [{"ref": "l1"}, {"ref": "l2"}, {"ref": "root-component"}],
        "metadata": {"tools": {"components": [tool]}},
    }
    path.write_text(json.dumps(bill))
    licenses.complete(path)
    assert "://" not in path.read_text()
    done = json.loads(path.read_text())
    assert [each["name"] for each in done["components"]] == ["rich"]
    assert done["components"][0]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert [each["ref"] for each in done["dependencies"]] == ["l1", "root-component"]
