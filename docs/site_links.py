"""MkDocs hook: links from pages to files of the repository, titles of linked pages, and
CONTRIBUTING.md as a page.

On a code host `../xstilts/step.py` is the file. On the site it becomes a link to the file in the
repository if its URL is known (XSTILTS_REPOSITORY_URL), else plain text.
"""

import re
from pathlib import Path
from typing import Any

#: A link whose text is the name of a page: the site shows the page's title.
NAMED = re.compile(r"\[(?:docs/)?([\w-]+\.md)\](?=\()")
OUTSIDE = re.compile(r"\[((?:`[^`]*`|[^\]`])*)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    root = Path(config["config_file_path"]).parent
    if page.file.src_path == "contributing.md":
        text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
        markdown = text.replace("](docs/", "](")
    markdown = NAMED.sub(lambda link: f"[{_title(root / 'docs' / link[1])}]", markdown)
    return OUTSIDE.sub(lambda link: _resolved(link, root, config["repo_url"]), markdown)


def _resolved(link: re.Match[str], root: Path, repository: str | None) -> str:
    text, path = link[1], link[2]
    if not (root / path.partition("#")[0]).exists():
        raise FileNotFoundError(f"docs: a link to '{path}', which is not in the repository")
    return f"[{text}]({repository.rstrip('/')}/blob/main/{path})" if repository else text


def _title(page: Path) -> str:
    """The first heading of a page, up to a colon."""
    heading = page.read_text(encoding="utf-8").splitlines()[0]
    return heading.lstrip("# ").partition(":")[0]
