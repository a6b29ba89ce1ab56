"""Which variants are measured, and with which each is compared."""

from bench.variants import Choices, open_variants


def opened(artifacts, **lists):
    return open_variants(Choices(artifacts=artifacts, **lists))


def described(variants):
    return [(v.model, v.backend.name, v.batch, v.baseline) for v in variants]


def test_a_checkpoint_is_its_own_baseline(model_path):
    with opened([model_path], backends=["auto"], batches=[1, 2]) as variants:
        assert described(variants) == [
            ("mini.safetensors", "torch", 1, 0),
            ("mini.safetensors", "torch", 2, 1),
        ]


def test_a_model_named_twice_is_compared_with_itself(model_path):
    with opened([model_path, model_path], backends=["auto"], batches=[1]) as variants:
        assert [variant.baseline for variant in variants] == [0, 0]
        assert variants[0].backend is not variants[1].backend


def test_a_graph_is_compared_with_the_checkpoint_beside_it(model_path, exported):
    with opened([exported / "ten.onnx", model_path], backends=["auto"], batches=[4]) as variants:
        assert described(variants) == [
            ("ten.onnx", "onnxruntime", 4, 1),
            ("mini.safetensors", "torch", 4, 1),
        ]


def test_a_graph_of_other_views_gets_a_baseline_of_those_views(model_path, exported):
    with opened([exported / "centre.onnx", model_path], backends=["auto"], batches=[1]) as variants:
        first, graph, checkpoint = variants
        assert (first.backend.name, first.backend.info.views) == ("torch", "centre")
        assert (graph.baseline, checkpoint.baseline) == (0, 2)
        assert checkpoint.backend.info.views == "ten"


def test_a_graph_alone_is_compared_with_its_network_in_fresh_weights(exported):
    with opened([exported / "ten.onnx"], backends=["auto"], batches=[1]) as variants:
        fresh, graph = variants
        assert (fresh.backend.name, fresh.model) == ("torch", "mini-fresh.safetensors")
        assert fresh.backend.info.config == graph.backend.info.config
        assert graph.baseline == 0
        folder = fresh.backend.info.path.parent
    assert not folder.exists()


def test_without_a_baseline_nothing_is_added(exported):
    with opened(
        [exported / "ten.onnx"], backends=["auto"], batches=[1], baseline=False
    ) as variants:
        assert described(variants) == [("ten.onnx", "onnxruntime", 1, None)]


def test_each_of_several_backends_runs_the_files_of_its_kind(model_path, exported, capsys):
    both = ["torch", "onnxruntime"]
    with opened([model_path, exported / "ten.onnx"], backends=both, batches=[1]) as variants:
        assert [variant.backend.name for variant in variants] == both
    assert "Left out: mini.safetensors on onnxruntime" in capsys.readouterr().err


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path, model_path):
    copy = tmp_path / model_path.name
    copy.write_bytes(model_path.read_bytes())
    with opened([model_path, copy], backends=["auto"], batches=[1]) as variants:
        assert [variant.model for variant in variants] == [str(model_path), str(copy)]


def test_every_combination_of_the_lists_is_measured(model_path):
    lists = {"views": ["ten", "centre"], "threads": [1, 2], "batches": [1, 4]}
    with opened([model_path], **lists) as variants:
        found = [(v.batch, v.backend.info.views, v.threads) for v in variants]
        assert found == [
            (batch, views, threads)
            for batch in (1, 4)
            for views in ("ten", "centre")
            for threads in (1, 2)
        ]
        assert [v.baseline for v in variants] == list(range(8))


def test_a_graph_has_its_own_views_where_several_are_listed(model_path, exported):
    with opened([exported / "ten.onnx", model_path], views=["ten", "centre"]) as variants:
        found = [(v.backend.name, v.backend.info.views) for v in variants]
        assert found == [("onnxruntime", "ten"), ("torch", "ten"), ("torch", "centre")]


def test_a_baseline_has_as_many_threads(exported):
    with opened([exported / "ten.onnx"], threads=[1, 2]) as variants:
        assert [(v.backend.name, v.threads, v.baseline) for v in variants] == [
            *(("torch", 1, 0), ("torch", 2, 1)),
            *(("onnxruntime", 1, 0), ("onnxruntime", 2, 1)),
        ]


def test_sessions_that_are_not_shared_are_opened_for_each_batch_size(model_path):
    choices = Choices(artifacts=[model_path], batches=[1, 2])
    with open_variants(choices) as (one, other):
        assert one.backend is other.backend
    with open_variants(choices, shared=False) as (one, other):
        assert one.backend is not other.backend
