"""Two processes average networks."""

from tests.train.conftest import on_ranks
from tests.train.test_averaging import Made
from train.averaging import evaluate_average
from train.mesh import open_mesh


def _in_two_processes():
    made, found = Made(), []
    with open_mesh() as mesh:
        for weights in ("equal", (0.5, 0.0, 2.0), "tuned"):
            result = evaluate_average(made.runs, made, weights=weights, batch=4, mesh=mesh)
            found.append((result.weights, result.average.summary()))
    return found, made.decoded


def test_two_processes_share_the_photos_and_come_to_the_result_of_one():
    made, wanted = Made(), []
    for weights in ("equal", (0.5, 0.0, 2.0), "tuned"):
        result = evaluate_average(made.runs, made, weights=weights, batch=4)
        wanted.append((result.weights, result.average.summary()))
    assert on_ranks(2, _in_two_processes) == [(wanted, 3 * 16), (wanted, 3 * 15)]
