"""Services as people write them in an afternoon: what `alexnet-bench peers` sets ours against.

All run the same exported graph, with everything but decoding and resizing inside, in ONNX Runtime
with its default settings. PEER_MODEL names its file, PEER_THREADS the threads (0: the default).
"""
