"""The web page itself, on Gradio."""

import ipaddress
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unetkit.data.files import SUFFIXES, FileRef
from unetkit.demo.images import Example, read_limited
from unetkit.demo.results import Model, predict, problem, show
from unetkit.errors import UserError

HIDDEN: dict[str, Any] = {"api_visibility": "private"}  # of the page alone, no interface for programs
SESSIONS = 8  # whose last results are kept in memory
STYLE = """
.pictures {display: grid; gap: 12px;  /* four in a row, or two where there is less than 880px */
  grid-template-columns: repeat(auto-fit, minmax(clamp(22%, (880px - 100%) * 999, 45%), 1fr))}
.pictures figure {margin: 0}
.pictures img {width: 100%; max-height: 75vh; object-fit: contain; border-radius: 4px}
.pictures figcaption, .facts {font-size: 14px; color: var(--body-text-color-subdued)}
.scale {display: inline-block; width: 96px; height: 10px; margin: 0 4px; border-radius: 2px;
  background: linear-gradient(to right, #440154, #3b528b, #21918c, #5ec962, #fde725)}
.swatch {display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px; border-radius: 2px}
.facts {margin: 10px 0}
.problem {padding: 10px 14px; border-left: 4px solid #d55e00; background: var(--background-fill-secondary)}
.path {overflow-wrap: anywhere}
"""


def build(models: Sequence[Model], examples: Sequence[Example], max_pixels: int) -> Any:
    """The page, a `gradio.Blocks`: an image, and for each model a threshold and its results."""
    import gradio as gr

    def analyse(name: str, image: Any, thresholds: Sequence[float]) -> list[Any]:
        """Results and HTML, in turn, of each model."""
        shown: list[Any] = []
        for model, threshold in zip(models, thresholds, strict=True):
            try:
                result = predict(model, name, image)
                shown += [result, show(result, threshold)]
            except UserError as error:
                shown += [None, problem(error)]
        return shown

    def uploaded(path: str, *thresholds: float) -> list[Any]:
        ref = FileRef(Path(path))
        try:
            shown = analyse(ref.name.name, read_limited(ref, max_pixels), thresholds)
            return [None, "", *shown]
        except UserError as error:
            return [None, problem(error, ref.path), *[None, ""] * len(models)]

    def chosen(event: gr.SelectData, *thresholds: float) -> list[Any]:
        example = examples[event.index]
        return ["", *analyse(example.name, example.read(), thresholds)]

    def first(*thresholds: float) -> list[Any]:
        return analyse(examples[0].name, examples[0].read(), thresholds)

    with gr.Blocks(title="unetkit demo", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML("<h1>unetkit demo</h1>")
        with gr.Row():
            upload = gr.File(label="Your image", file_types=list(SUFFIXES), height=150, scale=2)
            thumbnails = [(example.thumbnail, example.name) for example in examples]
            gallery = gr.Gallery(
                thumbnails,
                label="Examples",
                columns=len(examples),
                height=150,
                scale=3,
                allow_preview=False,
                interactive=False,
                buttons=[],
            )
        notice = gr.HTML()
        sliders, outputs = [], []
        with gr.Row():
            for model in models:
                with gr.Column(min_width=360):
                    gr.HTML(f'<h2 class="path">{model.title}</h2>')
                    start = model.predictor.threshold
                    slider = gr.Slider(0, 1, start, step=0.01, label="Threshold", visible=model.is_binary)
                    state, pictures = gr.State(), gr.HTML()
                    slider.input(
                        show, [state, slider], pictures, trigger_mode="always_last", show_progress="hidden", **HIDDEN
                    )
                    sliders.append(slider)
                    outputs += [state, pictures]
        upload.upload(uploaded, [upload, *sliders], [upload, notice, *outputs], **HIDDEN)
        gallery.select(chosen, sliders, [notice, *outputs], **HIDDEN)
        page.load(first, sliders, outputs, **HIDDEN)
    return page


@contextmanager
def served(
    models: Sequence[Model], examples: Sequence[Example], max_pixels: int, max_upload_mib: int, host: str, port: int
) -> Iterator[str]:
    """Serve the page at the URL that it gives, until the context ends; uploads are deleted then.

    Raises:
        UserError: If Gradio is missing, or there is no listening at that address.
    """
    with tempfile.TemporaryDirectory(prefix="unetkit-demo-") as folder:
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)  # read when it is imported
        try:
            import gradio as gr
        except ImportError as error:
            raise UserError(f'the demo needs Gradio ({error}); run: pip install -e ".[demo]"') from error
        page = build(models, examples, max_pixels)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                share=False,
                allowed_paths=[folder],
                max_file_size=max_upload_mib * 2**20,
                state_session_capacity=SESSIONS,
                theme=gr.themes.Default(),
                css=STYLE,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                prevent_thread_lock=True,
                quiet=True,
            )
        except OSError as error:
            raise UserError(f"host={host} port={port}: {error}; stop what uses the port, or choose another") from error
        try:
            yield f"http://{host}:{port}"
        finally:
            page.close(verbose=False)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
