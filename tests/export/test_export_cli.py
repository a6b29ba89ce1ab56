"""The command alexnet-export, as people run it."""

import pytest

from alexnet import __version__
from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from tests.commands import here
from train.untrained import untrained


def run(*arguments):
    return here("export.cli", *arguments)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.safetensors"
    save_checkpoint(untrained(mini(), seed=0), path)
    return path


def test_a_graph_is_written_with_the_views_and_outputs_asked_for(model, tmp_path):
    done = run("onnx", model, "-o", tmp_path / "deep" / "m.onnx", "--views=centre", "--features")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "m.onnx" in done.stderr
    assert "nodes" in done.stderr
    info = open_backend(tmp_path / "deep" / "m.onnx").info
    assert (info.views, info.has_features) == ("centre", True)


def test_ten_views_and_no_features_are_the_default(model, tmp_path):
    assert run("onnx", model, "-o", tmp_path / "m.onnx").returncode == 0
    info = open_backend(tmp_path / "m.onnx").info
    assert (info.views, info.has_features) == ("ten", False)


def test_without_a_checkpoint_the_model_that_ships_is_exported(tmp_path):
    assert run("onnx", "-o", tmp_path / "m.onnx").returncode == 0
    info = open_backend(tmp_path / "m.onnx").info
    assert info.labels == open_backend().info.labels


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nothing.safetensors", "There is no checkpoint"), ("torn.safetensors", "not a whole")],
)
def test_a_bad_checkpoint_is_one_sentence_and_no_file(model, tmp_path, name, sentence):
    (tmp_path / "torn.safetensors").write_bytes(model.read_bytes()[:5000])
    done = run("onnx", tmp_path / name, "-o", tmp_path / "m.onnx")
    assert done.returncode == 1
    assert done.stderr.startswith("alexnet-export: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m.onnx").exists()


def test_a_graph_is_not_taken_for_a_checkpoint(model, tmp_path):
    assert run("onnx", model, "-o", tmp_path / "m.onnx").returncode == 0
    done = run("onnx", tmp_path / "m.onnx", "-o", tmp_path / "again.onnx")
    assert done.returncode == 1
    assert "A checkpoint's name ends in .safetensors" in done.stderr
    assert not (tmp_path / "again.onnx").exists()


def test_the_version_is_told():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"alexnet-export, version {__version__}\n")


def test_a_file_that_no_backend_would_open_is_not_written(model, tmp_path):
    done = run("onnx", model, "-o", tmp_path / "m.pb")
    assert done.returncode == 1
    assert "ends in .onnx" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_t_be_written_is_one_sentence(model, tmp_path):
    (tmp_path / "file").touch()
    done = run("onnx", model, "-o", tmp_path / "file" / "m.onnx")
    assert done.returncode == 2  # it is refused before any work is done
    assert "file is no folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("onnx",), ("verify", "one"), ("onnx", "--views=six")])
def test_a_usage_error_is_2(arguments):
    assert run(*arguments).returncode == 2


def test_a_torn_graph_can_t_be_verified(model, tmp_path):
    assert run("onnx", model, "-o", tmp_path / "m.onnx").returncode == 0
    (tmp_path / "torn.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:100_000])
    done = run("verify", model, tmp_path / "torn.onnx")
    assert done.returncode == 1
    assert "not a whole ONNX model" in done.stderr
    assert "Traceback" not in done.stderr
