"""What the numbers depend on besides the plan: library versions and the kind of arithmetic. Imports none of them."""

from importlib.metadata import PackageNotFoundError, version

from xstilts.errors import InfrastructureError

#: Distributions whose version can change a token, a pixel or a floating-point sum.
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "pillow")


def numeric_environment(
    dtype: str = "float32", attention: str = "packed", image_backend: str = "pil"
) -> dict[str, str]:
    """library → version (local parts such as `+cpu` left out: they name a device, which is no setting of a result),
    and image_backend, dtype, attention. Raises InfrastructureError naming the libraries that are not installed."""
    found: dict[str, str] = {}
    absent = []
    for library in LIBRARIES:
        try:
            found[library] = version(library).partition("+")[0]
        except PackageNotFoundError:
            absent.append(library)
    if absent:
        raise InfrastructureError(f"not installed: {', '.join(absent)}; install xstilts with its dependencies")
    return {**found, "image_backend": image_backend, "dtype": dtype, "attention": attention}
