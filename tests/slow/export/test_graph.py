"""The exported graphs of the presets at full size; tests/export has them small."""

import pytest

from alexnet.config import PRESETS, preset
from tests.export.test_graph import (
    VIEWS,
    agree_on_samples,
    files_of,
    test_a_graph_has_no_more_nodes_than_the_network_has_steps,
    test_features_are_pytorch_s_too,
    test_onnx_runtime_and_pytorch_agree_on_real_photos,
    test_strict_shape_inference_finds_the_shapes_of_every_layer,
    test_the_graph_passes_onnx_s_full_checks,
    test_weights_lie_in_the_file_under_their_own_names,
)

__all__ = [
    "test_a_graph_has_no_more_nodes_than_the_network_has_steps",
    "test_features_are_pytorch_s_too",
    "test_onnx_runtime_and_pytorch_agree_on_real_photos",
    "test_strict_shape_inference_finds_the_shapes_of_every_layer",
    "test_the_graph_passes_onnx_s_full_checks",
    "test_weights_lie_in_the_file_under_their_own_names",
]


@pytest.fixture(scope="module", params=[name for name in PRESETS if name not in ("paper", "mini")])
def exported(request, tmp_path_factory):
    with files_of(preset(request.param), tmp_path_factory) as exported:
        yield exported


@pytest.mark.shared
@pytest.mark.parametrize("views", VIEWS)
def test_onnx_runtime_and_pytorch_agree_on_imagenet_samples(exported, views):
    agree_on_samples(exported, views)
