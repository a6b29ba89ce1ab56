"""Settings are environment variables; a wrong one is a sentence."""

from pathlib import Path

import pytest

from serve.settings import SETTINGS, EnvironmentVariableError, Settings, read_settings, shown


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
        "ALEXNET_MODE": "latency",
        "ALEXNET_BATCH": "8",
        "ALEXNET_WAIT": "2.5",
        "ALEXNET_QUEUE": "1k",
        "ALEXNET_DECODE": "fast",
        "ALEXNET_MAX_BODY": "5MB",
        "ALEXNET_MAX_PIXELS": "12M",
        "ALEXNET_MAX_PHOTOS": "8",
        "ALEXNET_MAX_REQUESTS": "16",
        "ALEXNET_MAX_UPLOADS": "2G",
        "ALEXNET_UPLOAD_TIMEOUT": "5",
        "ALEXNET_TIMEOUT": "2.5",
        "ALEXNET_START_TIMEOUT": "600",
        "ALEXNET_KEYS": "/etc/alexnet/keys",
        "ALEXNET_METRICS": "key",
        "ALEXNET_CORS_ORIGINS": "https://a.example, http://b.example:8080",
        "ALEXNET_HOSTS": "Photos.Example 127.0.0.1 [::1]",
        "ALEXNET_LOG": "json",
        "ALEXNET_HOST": "0.0.0.0",
        "ALEXNET_PORT": "8080",
    }
    assert len(environment) == len(Settings.__dataclass_fields__) == len(SETTINGS)
    assert read_settings(environment) == Settings(
        model=Path("/models/one.onnx"),
        backend="onnxruntime",
        device="cuda:1",
        views="centre",
        threads=3,
        mode="latency",
        batch=8,
        wait=0.0025,
        queue=1000,
        decode="fast",
        max_body=5_000_000,
        max_pixels=12_000_000,
        max_photos=8,
        max_requests=16,
        max_uploads=2_000_000_000,
        upload_timeout=5.0,
        timeout=2.5,
        start_timeout=600.0,
        keys=Path("/etc/alexnet/keys"),
        metrics="key",
        cors_origins=("https://a.example", "http://b.example:8080"),
        hosts=("photos.example", "127.0.0.1", "[::1]"),
        log="json",
        host="0.0.0.0",
        port=8080,
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
        ("ALEXNET_MODE", "fast", "one of latency, throughput"),
        ("ALEXNET_WAIT", "-1", "milliseconds, 0 to 1000"),
        ("ALEXNET_WAIT", "2 s", "milliseconds, 0 to 1000"),
        ("ALEXNET_QUEUE", "0", "a number of at least 1"),
        ("ALEXNET_THREADS", "0", "a number of at least 1"),
        ("ALEXNET_THREADS", "two", "a number of at least 1"),
        ("ALEXNET_MAX_BODY", "-5", "a number of at least 1"),
        ("ALEXNET_MAX_BODY", "20 bananas", "a number of at least 1"),
        ("ALEXNET_TIMEOUT", "0", "seconds, more than 0 and at most 55"),
        ("ALEXNET_TIMEOUT", "60", "seconds, more than 0 and at most 55"),
        ("ALEXNET_START_TIMEOUT", "3601", "seconds, more than 0 and at most 3600"),
        ("ALEXNET_METRICS", "closed", "one of open, key, off"),
        ("ALEXNET_LOG", "xml", "one of auto, json, plain, off"),
        ("ALEXNET_CORS_ORIGINS", "photos.example", "origins such as https://photos.example"),
        ("ALEXNET_CORS_ORIGINS", "https://a.example/", "origins such as https://photos.example"),
        ("ALEXNET_CORS_ORIGINS", "https://*.example", "origins such as https://photos.example"),
        ("ALEXNET_HOSTS", "https://a.example", "host names such as photos.example"),
        ("ALEXNET_HOST", "localhost", "an IP address such as"),
        ("ALEXNET_HOST", "0.0.0.0:80", "an IP address such as"),
        ("ALEXNET_PORT", "0", "a port, 1 to 65535"),
        ("ALEXNET_PORT", "65536", "a port, 1 to 65535"),
        ("ALEXNET_PORT", "http", "a port, 1 to 65535"),
        ("ALEXNET_PORT", "http://10.0.0.11:3000", "a port, 1 to 65535"),
        ("ALEXNET_TIMEOUT", "nan", "seconds, more than 0 and at most 55"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(name, value, reason):
    with pytest.raises(EnvironmentVariableError, match=reason) as caught:
        read_settings({name: value})
    assert str(caught.value).startswith(f"{name} is '{value}', and must be ")


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("ALEXNET_MODLE", "ALEXNET_MODEL"),
        ("ALEXNET_MAX_PHOTO", "ALEXNET_MAX_PHOTOS"),
        ("ALEXNET_QQ", "ALEXNET_TIMEOUT"),  # like none: all of them
    ],
)
def test_an_unknown_name_is_refused_with_similar_ones(name, similar):
    with pytest.raises(EnvironmentVariableError, match=f"no setting {name}: .*{similar}"):
        read_settings({name: "x"})


def test_variables_of_others_are_left_alone():
    environment = {
        "ALEXNET_TRACEBACK": "1",
        "ALEXNET_CI": "1",
        "ALEXNET_GPU": "cuda",
        # What Kubernetes sets for a service called alexnet, and for alexnet-api.
        "ALEXNET_SERVICE_HOST": "10.0.0.11",
        "ALEXNET_SERVICE_PORT": "3000",
        "ALEXNET_SERVICE_PORT_HTTP": "3000",
        "ALEXNET_PORT": "tcp://10.0.0.11:3000",
        "ALEXNET_PORT_3000_TCP": "tcp://10.0.0.11:3000",
        "ALEXNET_PORT_3000_TCP_ADDR": "10.0.0.11",
        "ALEXNET_API_SERVICE_HOST": "10.0.0.12",
        "ALEXNET_API_PORT_80_TCP_PROTO": "tcp",
        # Not set, and not ours.
        "ALEXNET_MODLE": "",
        "ALEXNETS": "x",
    }
    assert read_settings(environment) == Settings()


def test_all_settings_are_shown_and_no_secret_and_no_folder():
    default = shown(Settings())
    assert set(default) == set(Settings.__dataclass_fields__)
    same = {name: getattr(Settings(), name) for name in default}
    assert default == same | {"keys": False}
    told = shown(
        Settings(
            model=Path("/srv/secret/one.onnx"),
            keys=Path("/srv/secret/keys"),
            wait=0.0025,
            hosts=("photos.example",),
        )
    )
    assert told | {"model": "one", "keys": True, "wait": 2.5} == told
    assert told["hosts"] == ("photos.example",)
    assert "secret" not in str(told)
