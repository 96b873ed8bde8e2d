"""All that Ray's GCS tells a client: python -m tests.e2e.gcs_answers ADDRESS.

Writes the answers to standard output as they come over the wire. Takes the token from
RAY_AUTH_TOKEN, and none if it is unset. Exits with 3 if the GCS asks for one.
"""

import os
import sys
from typing import Any

#: Service → its calls that list all there is.
CALLS = {
    "JobInfo": ("GetAllJobInfo",),
    "ActorInfo": ("GetAllActorInfo",),
    "TaskInfo": ("GetTaskEvents",),
    "WorkerInfo": ("GetAllWorkerInfo",),
    "NodeInfo": ("GetAllNodeInfo",),
    "PlacementGroupInfo": ("GetAllPlacementGroup",),
    "NodeResourceInfo": ("GetAllTotalResources",),
    "InternalKV": ("GetInternalConfig",),
}
#: ray/_private/ray_constants.py, KV_NAMESPACE_*; the empty one holds what has none.
NAMESPACES = (
    b"", b"dashboard", b"session", b"tracing", b"ray_pdb", b"healthcheck", b"job", b"cluster", b"fun", b"usage_stats",
)  # fmt: skip


def answers(address: str, token: str | None) -> bytes:
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    channel = grpc.insecure_channel(address)

    def call(service: str, method: str, **arguments: Any) -> Any:
        stub = getattr(gcs_service_pb2_grpc, f"{service}GcsServiceStub")(channel)
        request = getattr(gcs_service_pb2, f"{method}Request")(**arguments)
        return getattr(stub, method)(request, metadata=metadata, timeout=20)

    try:
        parts = [
            call(service, method).SerializeToString()
            for service, methods in CALLS.items()
            for method in methods
        ]
        for namespace in NAMESPACES:
            keys = call("InternalKV", "InternalKVKeys", namespace=namespace, prefix=b"").results
            got = call("InternalKV", "InternalKVMultiGet", namespace=namespace, keys=keys)
            parts += [namespace, *keys, got.SerializeToString()]
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            sys.exit(3)
        raise
    return b"\n".join(parts)


if __name__ == "__main__":
    sys.stdout.buffer.write(answers(sys.argv[1], os.environ.get("RAY_AUTH_TOKEN")))
