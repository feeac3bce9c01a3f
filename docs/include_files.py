"""Add pages to the site that are kept elsewhere in the project (an event of MkDocs)."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {  # page of the site: file of the project
    "ablations.md": "results/ablations.md",
    "ablations-12.png": "results/ablations-12.png",
    "isbi2012.md": "results/isbi2012/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Append each file under its name on the site."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point links between these files and docs/, which are right in the project, at the pages of the site."""
    for page, source in PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({page}")
    return markdown.replace("](docs/", "](").replace("](../docs/", "](").replace("](../../docs/", "](")
