"""Two Ray nodes of one CPU each in a process of their own, until its stdin ends.

Not in the tests' own process: Ray takes its signals, and its native threads stay in it.
"""

import json
import os
import sys


def main():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported
    from ray.cluster_utils import Cluster

    store = 128 * 2**20
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": store}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=store)
        nodes = cluster.list_all_nodes()
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
