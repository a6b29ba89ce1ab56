"""Results made by hand, as a benchmark would return them."""

from dataclasses import asdict

from bench.statistics import summarise

MACHINE = {
    "date": "2026-11-20T12:00:00+00:00",
    "cpu": "A processor",
    "cores": 2,
    "memory_gib": 8.0,
    "gpu": None,
    "load_average": 0.1,
    "versions": {"alexnet": "0.1.0", "torch": "2.9.0"},
}


def row(model, times, *, batch=1, backend="torch", **more):
    """A row of `alexnet-bench latency` with these times in milliseconds."""
    summary = summarise(times)
    return {
        "name": f"{model}, batch {batch}",
        "model": model,
        "target": "portable",
        "precision": "fp32",
        "backend": backend,
        "views": "ten",
        "threads": None,
        "streams": 1,
        "infer_batch_size": batch,
        "infer_samples_per_sec": 1000 * batch / summary.mean,
        "infer_step_time": summary.mean,
        "infer_img_size": 224,
        "param_count": 60.97,
        "gmacs": 0.72,
        "latency_ms": asdict(summary),
        "samples_ms": list(times),
        "baseline": False,
        "ratio": None,
        **more,
    }


def result(*rows, benchmark="latency", reasons=(), **more):
    """A result with these rows."""
    return {
        "benchmark": benchmark,
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": list(reasons),
        "machine": MACHINE,
        "scenario": None,
        "isolated": True,
        "rounds": 20,
        "results": list(rows),
        **more,
    }
