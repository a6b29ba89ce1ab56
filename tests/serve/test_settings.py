"""Settings are environment variables; a wrong one is a sentence."""

from pathlib import Path

import pytest

from serve.settings import SettingError, Settings, read_settings


def test_without_variables_the_defaults_hold():
    assert read_settings({}) == Settings()
    assert read_settings({"ALEXNET_MODEL": "", "ALEXNET_THREADS": " "}) == Settings()


def test_every_setting_has_its_variable():
    environment = {
        "ALEXNET_MODEL": "/models/one.onnx",
        "ALEXNET_BACKEND": "onnxruntime",
        "ALEXNET_DEVICE": "cuda:1",
        "ALEXNET_VIEWS": "centre",
        "ALEXNET_THREADS": "3",
        "ALEXNET_MAX_BODY": "5MB",
        "ALEXNET_MAX_PIXELS": "12M",
        "ALEXNET_MAX_PHOTOS": "8",
        "ALEXNET_MAX_REQUESTS": "16",
        "ALEXNET_TIMEOUT": "2.5",
    }
    assert len(environment) == len(Settings.__dataclass_fields__)
    assert read_settings(environment) == Settings(
        model=Path("/models/one.onnx"),
        backend="onnxruntime",
        device="cuda:1",
        views="centre",
        threads=3,
        max_body=5_000_000,
        max_pixels=12_000_000,
        max_photos=8,
        max_requests=16,
        timeout=2.5,
    )


def test_a_model_is_found_from_wherever_the_service_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read_settings({"ALEXNET_MODEL": "one.onnx"}).model == tmp_path / "one.onnx"


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("20000000", 20_000_000), ("20 MB", 20_000_000), ("2kB", 2000)]
)
def test_numbers_may_have_a_unit(text, number):
    assert read_settings({"ALEXNET_MAX_BODY": text}).max_body == number


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ALEXNET_BACKEND", "caffe", "one of auto, torch, onnxruntime"),
        ("ALEXNET_VIEWS", "eleven", "one of ten, centre"),
        ("ALEXNET_THREADS", "0", "a number of at least 1"),
        ("ALEXNET_THREADS", "two", "a number of at least 1"),
        ("ALEXNET_MAX_BODY", "-5", "a number of at least 1"),
        ("ALEXNET_MAX_BODY", "20 bananas", "a number of at least 1"),
        ("ALEXNET_TIMEOUT", "0", "seconds, more than 0 and at most 55"),
        ("ALEXNET_TIMEOUT", "60", "seconds, more than 0 and at most 55"),
        ("ALEXNET_TIMEOUT", "nan", "seconds, more than 0 and at most 55"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(name, value, reason):
    with pytest.raises(SettingError, match=reason) as caught:
        read_settings({name: value})
    assert str(caught.value).startswith(f"{name} is '{value}', and must be ")
