"""The backends of the process group that a group's workers form."""


def backend(gpus: bool, cuda: str = "nccl") -> str:
    """The backend of each device type, as torch.distributed.init_process_group takes it.

    Workers with GPUs sum gradients on the GPU, and agree on flags and Python objects on the CPU,
    which needs no synchronization with the GPU. NCCL alone has no CPU tensors: without a mapping
    the first such collective fails.

    Args:
        gpus: Whether each worker has a GPU.
        cuda: The backend of GPU tensors.
    """
    return f"cpu:gloo,cuda:{cuda}" if gpus else "gloo"
