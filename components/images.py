"""Which image each component runs in. References are pinned when images are published; locally the tags are enough."""


def reference(component: str) -> str:
    """The image of a component, e.g. `xstilts/stage-python:dev`."""
    return f"xstilts/{component}-python:dev"
