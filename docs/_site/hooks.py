"""What mkdocs calls while it builds the site: runs the tutorials, and checks what a reader relies on."""

import re
import resource
import time
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import asymjax

MAX_SECONDS = 60
FROM_ROOT = {"adding.md": "ADDING.md", "changes.md": "CHANGELOG.md"}
REFERENCE = "reference/index.md"
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
log = get_plugin_logger("asymjax")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@cache  # While the site is served, a tutorial runs again only where it changed.
def run(name: str, text: str) -> tuple[str, dict[str, bytes]]:
    """Return a tutorial as Markdown, and its figures by file name; an exception in it ends the build."""
    notebook = jupytext.reads(text, fmt="py:percent")
    start, processor = time.perf_counter(), _processor_seconds()
    NotebookClient(
        notebook, timeout=10 * MAX_SECONDS, coalesce_streams=True, extra_arguments=["--log-level=ERROR"]
    ).execute()
    seconds, processor = time.perf_counter() - start, _processor_seconds() - processor
    log.info(f"{name}: {seconds:.0f} s, of a processor {processor:.0f}")
    if min(seconds, processor) > MAX_SECONDS:  # Beside other work the first is longer than it would be.
        raise PluginError(f"{name} took {seconds:.0f} s; a tutorial has {MAX_SECONDS}")
    resources = {"unique_key": f"{name}_figures", "output_files_dir": f"{name}_figures"}
    body, resources = MarkdownExporter().from_notebook_node(nbformat.from_dict(notebook), resources)
    return body, resources["outputs"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put executed tutorials in the place of their sources, and add the pages that lie at the root."""
    root = Path(config.config_file_path).parent
    for source in [file for file in files if re.fullmatch(r"tutorials/\w+\.py", file.src_uri)]:
        files.remove(source)
        body, figures = run(Path(source.src_uri).stem, source.content_string)
        files.append(File.generated(config, source.src_uri.replace(".py", ".md"), content=body))
        for name, figure in figures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=figure))
    for page, name in FROM_ROOT.items():
        body = (root / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=body))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Check that every public name has an entry; point links between files of the repository at pages of the site."""
    if page.file.src_uri == REFERENCE:
        missing = set(asymjax.__all__) - set(re.findall(r"^### ::: asymjax\.(\w+)$", markdown, re.MULTILINE))
        if missing:
            raise PluginError(f"docs/{REFERENCE} has no entry of {', '.join(sorted(missing))}")
    markdown = re.sub(r"\]\(((?:tutorials/)?\w+)\.py\)", r"](\1.md)", markdown)
    for name, source in FROM_ROOT.items():
        markdown = re.sub(rf"\]\(\.\./((?:\.\./)*){source}\)", rf"](\1{name})", markdown)
    return markdown


def on_post_page(output: str, page: Any, **kwargs: Any) -> None:
    """Check that a page loads nothing from elsewhere."""
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads {found.group()}")
