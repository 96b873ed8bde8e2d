"""What the wheel holds: `xstilts`, and inside it, as `xstilts/_kfp`, the folders of the pipeline.

Packages named `components`, `images` and `pipelines` at the top of site-packages would collide with
other projects. xstilts/command_line.py puts `xstilts/_kfp` on the path of its own process.
"""

from setuptools import find_packages, setup

FOLDERS = ("components", "images", "pipelines")

inside = {
    f"xstilts._kfp.{package}": package.replace(".", "/")
    for folder in FOLDERS
    for package in find_packages(include=[folder, f"{folder}.*"])
}
setup(
    packages=[*find_packages(include=["xstilts", "xstilts.*"]), *inside],
    package_dir=inside,
)
