"""The gate before rounded graphs: measured accuracy in the file, or no file."""

import io
import json
import tarfile
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from PIL import Image

from alexnet.backends import open_backend
from alexnet.backends.metadata import info_of_model
from alexnet.checkpoint import save_checkpoint
from alexnet.errors import AlexNetError
from export.accuracy import Gate, measured
from export.cli import main
from export.graph import onnx_model
from export.precision import set_metadata
from export.validation_photos import validation_photos
from tests.models import real_pixels, tiny
from tests.photos import shared_data
from train.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(tiny(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def model_file(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("accuracy") / "m.safetensors"
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def pixels(checkpoint):
    return real_pixels(checkpoint.config, 8)


@pytest.fixture(scope="module")
def probabilities(checkpoint, pixels):
    """Of the eight photos, by PyTorch."""
    with torch.inference_mode():
        return checkpoint.classifier("ten")(torch.from_numpy(pixels)).numpy()


@pytest.fixture
def folder(pixels, probabilities, tmp_path):
    """Class folders: six photos are of their best class, two of their least likely one."""
    order = probabilities.argsort(axis=1)
    for number, photo in enumerate(pixels):
        label = order[number, -1 if number < 6 else 0]
        place = tmp_path / "photos" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place / f"{number}.png")
    return tmp_path / "photos"


def dataset(place, pixels, classes, *, size=48):
    """A prepared data set: its list of classes, and one shard of validation photos."""
    place.mkdir()
    names = [{"wnid": f"class {number}", "name": ""} for number in range(10)]
    facts = {"source": "made", "size": size, "classes": names}
    facts["resize"] = {"fit": "crop", "filter": "bilinear"}
    (place / "dataset.json").write_text(json.dumps(facts))
    with tarfile.open(place / "val-000000.tar", "w") as tar:
        for number, (photo, label) in enumerate(zip(pixels, classes, strict=True)):
            file = io.BytesIO()
            Image.fromarray(photo).save(file, "JPEG", quality=95)
            for ending, data in (("jpg", file.getvalue()), ("cls", str(label).encode())):
                entry = tarfile.TarInfo(f"{number:08}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return place


def always(graph, label):
    """The graph as an int8 one that names one class whatever it sees."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.name == "fc8.bias":
            bias = numpy_helper.to_array(tensor).copy()
            bias[label] += 1e6
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    set_metadata(model, precision="int8")
    return model


def export(model_file, output, *options):
    arguments = ["onnx", model_file, "-o", output, *options]
    return CliRunner().invoke(main, list(map(str, arguments)))


def best_runtime():
    """Of a portable graph in float32."""
    return "onnxruntime" if find_spec("openvino") is None else "openvino"


# What is measured


def test_errors_and_agreement_are_those_that_pytorch_s_answers_have(
    checkpoint, pixels, probabilities, folder
):
    """Against counting: six of eight right in float32; and a graph that always says class 3."""
    graph = onnx_model(checkpoint)
    photos = validation_photos(folder, info_of_model(graph))
    found = measured(always(graph, 3), graph, photos)
    truth = photos.classes
    order = np.stack([probabilities[int(path.stem)] for path in photos.read()]).argsort(axis=1)
    in_five = np.mean([label in best for label, best in zip(truth, order[:, -5:], strict=True)])
    assert found["reference"] == {
        "precision": "fp32",
        "backend": best_runtime(),
        "top1_error": 0.25,
        "top5_error": round(1 - in_five, 6),
    }
    assert found["top1_error"] == round(1 - np.mean(truth == 3), 6)
    assert found["top1_agreement"] == round(np.mean(order[:, -1] == 3), 6)
    assert (found["data"], found["photos"], found["views"]) == ("photos", 8, "ten")
    assert found["backend"] == "onnxruntime"
    known = {name.removesuffix("-gpu") for name in found["versions"]}
    assert known == {"alexnet", "python", "onnxruntime", "pillow"}


def test_a_data_set_gives_its_validation_photos_with_their_classes(checkpoint, pixels, tmp_path):
    place = dataset(tmp_path / "data", pixels, [7, 0, 1, 2, 9, 4, 3, 3])
    photos = validation_photos(place, info_of_model(onnx_model(checkpoint)))
    assert photos.name == "made"
    assert photos.classes.tolist() == [7, 0, 1, 2, 9, 4, 3, 3]
    for data, original in zip(photos.read(), pixels, strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        assert np.abs(decoded - original).mean() < 4
    assert len(list(photos.read())) == 8, "it can be read again"


def test_photos_that_cannot_be_read_are_left_out(checkpoint, folder, capsys):
    graph = onnx_model(checkpoint)
    (folder / "class 0").mkdir(exist_ok=True)
    (folder / "class 0" / "bad.png").write_bytes(b"no photo")
    found = measured(always(graph, 3), graph, validation_photos(folder, info_of_model(graph)))
    assert found["photos"] == 8
    assert "Left out 1 photos of photos" in capsys.readouterr().err


def test_photos_of_other_classes_are_refused(checkpoint, pixels, tmp_path):
    info = info_of_model(onnx_model(checkpoint))
    (tmp_path / "folder" / "cat").mkdir(parents=True)
    with pytest.raises(AlexNetError, match=r"cat is no class of the network.*class 0"):
        validation_photos(tmp_path / "folder", info)
    with pytest.raises(AlexNetError, match="neither a prepared data set nor a folder"):
        validation_photos(tmp_path / "nothing", info)
    place = dataset(tmp_path / "large", pixels, [0] * 8, size=64)
    with pytest.raises(AlexNetError, match=r"--size 48.*prepared with --size 64"):
        validation_photos(place, info)
    other = replace(info, labels=info.labels[::-1])
    with pytest.raises(AlexNetError, match="classes are not the 10 of"):
        validation_photos(place, other)
    place = dataset(tmp_path / "damaged", pixels, [99] * 8)
    with pytest.raises(AlexNetError, match=r"damaged .*prepare"):
        validation_photos(place, info)


def test_a_float32_graph_is_measured_beside_its_checkpoint(model_file, folder, tmp_path):
    """Not beside itself: a graph that is written wrongly shows."""
    done = export(model_file, tmp_path / "m.onnx", "--validate", folder)
    assert done.exit_code == 0, done.output
    accuracy = info_of_model(onnx.load(tmp_path / "m.onnx")).accuracy
    assert (accuracy["backend"], accuracy["reference"]["backend"]) == (best_runtime(), "torch")
    assert accuracy["top1_error"] == accuracy["reference"]["top1_error"] == 0.25
    assert "the checkpoint in PyTorch 25.00 % top-1" in " ".join(done.stderr.split())


def test_a_float32_graph_that_is_not_its_checkpoint_shows(checkpoint, model_file, folder):
    wrong = always(onnx_model(checkpoint), 3)
    set_metadata(wrong, precision="fp32")
    with pytest.raises(AlexNetError, match=r"fp32 loses .* nothing was written"):
        Gate(validate=folder, max_drop=1).passed(wrong, model_file)


# The gate


def test_a_graph_is_written_with_what_was_measured(model_file, folder, tmp_path):
    done = export(model_file, tmp_path / "m.onnx", "--precision=int8", "--validate", folder)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "On 8 photos of photos int8 has" in done.stderr
    accuracy = open_backend(tmp_path / "m.onnx").info.accuracy
    assert accuracy["reference"]["top1_error"] == 0.25
    assert accuracy["photos"] == 8


def test_a_graph_that_loses_too_much_is_not_written(checkpoint, folder):
    """Float32 has 6 of 8 right; always the class of one photo that float32 knows: fewer."""
    graph = onnx_model(checkpoint)
    photos = validation_photos(folder, info_of_model(graph))
    rare = next(label for label in range(10) if np.mean(photos.classes == label) < 0.2)
    drop = 75 - 100 * np.mean(photos.classes == rare)
    model = always(graph, rare)
    gate = Gate(validate=folder, max_drop=drop - 1)
    with pytest.raises(AlexNetError, match=rf"int8 loses {drop:.2f} points .* nothing was written"):
        gate.passed(model, graph)
    assert info_of_model(model).accuracy is None
    replace(gate, max_drop=drop).passed(model, graph)
    assert info_of_model(model).accuracy["photos"] == 8


def test_an_existing_file_outlives_a_refusal(model_file, folder, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr("export.source.quantised", lambda model, ranges: always(model, 3))
    done = export(
        model_file, path, "--precision=int8", "--validate", folder, "--max-drop=1", "--views=ten"
    )
    assert done.exit_code == 1
    assert "--max-drop allows 1" in done.stderr.splitlines()[-1]
    assert path.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--precision=int8"], r"int8 changes answers: .*--validate.*--unvalidated"),
        (["--precision=bf16"], r"bf16 changes answers"),
        (["--precision=int8", "--max-drop=1"], r"--max-drop needs labelled photos"),
        (["--validate=x", "--unvalidated"], r"not both"),
        (["--precision=bf16", "--validate=FOLDER"], r"can't be measured here: .*no code.*--unvali"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    model_file, folder, tmp_path, options, sentence, capsys
):
    options = [option.replace("FOLDER", str(folder)) for option in options]
    done = export(model_file, tmp_path / "m.onnx", *options)
    assert done.exit_code == 1
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "m.onnx").exists()


def test_a_graph_may_be_written_unvalidated_and_says_so(model_file, tmp_path):
    done = export(model_file, tmp_path / "m.onnx", "--precision=bf16", "--unvalidated")
    assert done.exit_code == 0, done.output
    assert "Not validated: what bf16 costs" in done.stderr
    props = {prop.key: prop.value for prop in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert props["accuracy"] == "null"


def test_bf16_for_openvino_is_measured_by_openvino(model_file, folder, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "m.onnx"
    options = ("--for=openvino", "--precision=bf16", "--validate", folder, "--max-drop=50")
    done = export(model_file, path, *options)
    assert done.exit_code == 0, done.output
    info = info_of_model(onnx.load(path))
    assert (info.target, info.precision) == ("openvino", "bf16")
    assert info.accuracy["backend"] == "openvino"
    assert info.accuracy["top1_agreement"] >= 0.75
    assert not (tmp_path / "cache").exists(), "compiled copies of what was only measured"


@pytest.mark.slow
@pytest.mark.shared
def test_int8_for_openvino_keeps_the_shipped_model_s_accuracy(tmp_path, monkeypatch):
    """On five validation photos of each class; docs/results.md has the figures for all 2,500."""
    pytest.importorskip("nncf", reason="needs the extra int8")
    with tarfile.open(shared_data("tiny-imagenet-50") / "val.tar.gz") as tar:
        members = [member for member in tar if member.isfile()]
        for member in members[::10]:
            place = tmp_path / "val" / member.name.split("/")[1]
            place.mkdir(parents=True, exist_ok=True)
            (place / member.name.split("/")[-1]).write_bytes(tar.extractfile(member).read())
    samples = shared_data("imagenet-samples")
    options = ["--for=openvino", "--precision=int8", "--calibrate", samples]
    arguments = ["onnx", "-o", tmp_path / "m.onnx", *options, "--validate", tmp_path / "val"]
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    accuracy = info_of_model(onnx.load(tmp_path / "m.onnx")).accuracy
    assert accuracy["photos"] == 250
    assert accuracy["top1_agreement"] >= 0.97
    # Two photos of 250 are 0.8 points.
    assert accuracy["top1_error"] <= accuracy["reference"]["top1_error"] + 0.008
