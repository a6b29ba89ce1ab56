import pytest

from alexnet.errors import MissingPackageError, optional_import


def test_a_missing_package_names_the_extra_that_brings_it():
    with pytest.raises(MissingPackageError, match=r"`pip install -e '\.\[plots\]'`"):
        optional_import("no_such_package.part", extra="plots")


def test_a_missing_package_of_the_plain_install_names_that():
    with pytest.raises(
        MissingPackageError, match=r"no_such_package, .*`pip install -e \.` in the root"
    ):
        optional_import("no_such_package")


def test_a_package_that_is_there_and_broken_keeps_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import something_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs"):
        optional_import("half_installed", extra="plots")
