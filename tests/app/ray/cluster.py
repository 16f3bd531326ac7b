"""A Ray cluster of three nodes on this machine, in a process of its own.

It prints its address; a line on standard input takes a node away at once; it ends with its input.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster

_STORE_BYTES = 80 * 2**20


def main() -> None:
    """Run until standard input ends."""
    node: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": _STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    others = [cluster.add_node(**node) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)  # noqa: T201
    for _ in sys.stdin:
        cluster.remove_node(others.pop(), allow_graceful=False)
        print("removed", flush=True)  # noqa: T201
    cluster.shutdown()


if __name__ == "__main__":
    main()
