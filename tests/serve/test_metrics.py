"""Metrics: what is counted, under labels that there are few of."""

import secrets
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.metrics import Metrics
from serve.paths import OTHER, PATHS, template
from tests.photos import encode, pattern

PHOTO = encode(pattern(), "JPEG")


def samples(text):
    """Every value by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(service):
    return samples(httpx.get(service.url + "/metrics").text)


def values(text, name, label):
    """The values of one label of one metric."""
    return {
        sample.labels[label]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def scrape_until(service, before, *name, count):
    """A scrape with so many more: photos are counted a moment after their answer is sent."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        after = scrape(service)
        if gained(before, after, *name) >= count:
            return after
        time.sleep(0.02)
    raise AssertionError(f"{name} did not gain {count}")


def gained(before, after, *name):
    return after.get(name, 0.0) - before.get(name, 0.0)


def test_requests_and_photos_are_counted(service):
    before = scrape(service)
    for _ in range(3):
        service.classify(PHOTO, PHOTO)
    service.classify(PHOTO, b"text")
    service.classify(b"text")
    httpx.get(service.url + "/v1/classify")
    for stage, count in (("decode", 9), ("run", 7), ("wait", 7)):
        after = scrape_until(service, before, "alexnet_photo_seconds_count", stage, count=count)
    route = "/v1/classify"
    for status, count in (("200", 4), ("415", 1), ("405", 1)):
        assert gained(before, after, "alexnet_requests_total", route, status) == count
    assert gained(before, after, "alexnet_request_seconds_count", route) == 6
    assert gained(before, after, "alexnet_photos_total", "answered") == 7
    assert gained(before, after, "alexnet_photos_total", "not_a_photo") == 2
    assert gained(before, after, "alexnet_problems_total", "not_a_photo") == 1
    assert gained(before, after, "alexnet_problems_total", "method_not_allowed") == 1
    assert gained(before, after, "alexnet_photo_seconds_count", "decode") == 9
    assert gained(before, after, "alexnet_photo_seconds_count", "run") == 7
    assert gained(before, after, "alexnet_photo_seconds_count", "wait") == 7
    assert gained(before, after, "alexnet_batch_photos_sum") == 7
    assert 2 <= gained(before, after, "alexnet_batch_photos_count") <= 7
    assert after["alexnet_queue_photos",] == 0


def test_a_thousand_addresses_are_one(service):
    with httpx.Client(base_url=service.url) as client:
        before = samples(client.get("/metrics").text)
        for number in range(1000):
            path = ("/{}", "/v1/{}", "/page/{}", "/v1/classify/{}", "/?{}")[number % 5]
            client.request(("GET", "POST", "BREW")[number % 3], path.format(secrets.token_hex(8)))
        text = client.get("/metrics").text
    routes = values(text, "alexnet_requests_total", "route")
    assert routes <= PATHS | {OTHER}
    assert len(samples(text)) - len(before) < 100
    counted = {key: count for key, count in samples(text).items() if "alexnet_requests" in key[0]}
    assert sum(counted.values()) - sum(before.get(key, 0) for key in counted) == 1001


def test_bentomls_own_metrics_with_addresses_for_labels_are_not_there(service):
    text = httpx.get(service.url + "/metrics").text
    assert "bentoml" not in text
    assert "endpoint=" not in text
    assert samples(text)["process_resident_memory_bytes",] > 1e6
    assert httpx.get(service.url + "/metrics").headers["Content-Type"].startswith("text/plain")


def test_every_route_of_the_service_is_known_by_its_name():
    from serve.service import AlexNet, application

    def paths(routes):
        return {route.path for route in routes if hasattr(route, "methods")}

    bento = AlexNet.to_asgi(is_main=False)
    assert paths(application.asgi.routes) <= PATHS
    assert paths(bento.routes) <= PATHS
    assert all(template(path) == path for path in PATHS)


@pytest.mark.parametrize("path", ["/x", "/page/", "/page/a/b", "", "/v1/classify/", "/PAGE/x"])
def test_what_is_no_route_is_other(path):
    assert template(path) == OTHER


def test_a_histogram_counts_values_up_to_each_bound():
    metrics = Metrics()
    for seconds in (0.0004, 0.001, 0.0011, 0.3, 99.0):
        metrics.spent("run", seconds)
    found = samples(metrics.text().decode())
    expected = {"0.001": 2, "0.0025": 3, "0.25": 3, "0.5": 4, "50.0": 4, "+Inf": 5}
    for bound, count in expected.items():
        assert found[("alexnet_photo_seconds_bucket", *sorted((bound, "run")))] == count
    assert found["alexnet_photo_seconds_count", "run"] == 5
    assert found["alexnet_photo_seconds_sum", "run"] == pytest.approx(99.3025)


def test_a_batch_is_counted_by_its_photos_and_the_queue_as_it_is_now():
    metrics = Metrics()
    for photos in (1, 4, 4, 100):
        metrics.batch(photos)
    metrics.queue(9)
    metrics.queue(2)
    found = samples(metrics.text().decode())
    buckets = [found["alexnet_batch_photos_bucket", bound] for bound in ("1.0", "3.0", "4.0")]
    assert buckets == [1, 1, 3]
    assert found["alexnet_batch_photos_bucket", "64.0"] == 3
    assert found["alexnet_batch_photos_bucket", "+Inf"] == 4
    assert found["alexnet_queue_photos",] == 2
