"""Build the web page with Gradio, and serve it."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from unetkit.data.files import SUFFIXES, FileRef
from unetkit.demo.demo_model import DemoModel
from unetkit.demo.examples import EXAMPLES, Example
from unetkit.demo.guard import Guard, gradio_errors_in_one_line, refuse
from unetkit.demo.result import Result, respond, show
from unetkit.demo.uploads import read_limited
from unetkit.errors import UserError

PRIVATE: dict[str, Any] = {"api_visibility": "private"}  # the page has no interface for programs
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
IN_TURN: dict[str, Any] = {**PRIVATE, "concurrency_id": "predict", "concurrency_limit": 1}  # one prediction at a time
STATUS_SECONDS = 3600.0  # between two messages to those who wait, which the page does not show
SESSIONS = 8  # number of sessions whose last results stay in memory
STYLE = """
.gradio-container {max-width: 1280px !important}
h1, h2 {margin: 0}
.notice:not(:has(.problem)) {display: none}
h2 {font-size: 16px; overflow-wrap: anywhere}
h2 small {font-weight: normal; color: var(--body-text-color-subdued)}
.pictures {display: grid; gap: 12px;  /* four in a row; two if narrower than 880px */
  grid-template-columns: repeat(auto-fit, minmax(clamp(22%, (880px - 100%) * 999, 45%), 1fr))}
.pictures figure {margin: 0}
.pictures img {width: 100%; max-height: 75vh; object-fit: contain; border-radius: 4px}
.pictures figcaption {margin-top: 2px}
.scale {display: inline-block; width: 72px; height: 10px; margin: 0 5px; border-radius: 2px;
  background: linear-gradient(to right, #440154, #3b528b, #21918c, #5ec962, #fde725)}
.facts {display: flex; flex-wrap: wrap; align-items: center; gap: 8px 20px; margin-top: 14px}
.swatch {display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 2px}
.download {padding: 6px 14px; border-radius: 6px; text-decoration: none !important;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color) !important}
.download:hover {background: var(--button-secondary-background-fill-hover)}
.problem {padding: 10px 14px; border-left: 4px solid #d55e00; background: var(--background-fill-secondary)}
"""


def build(models: Sequence[DemoModel], examples: Sequence[Example], max_pixels: int) -> Any:
    """Build the page, a `gradio.Blocks`: an image, and for each model a threshold and its results.

    Args:
        models: The checkpoints.
        examples: Images to choose from; the first is predicted when the page opens.
        max_pixels: Uploads of more pixels are refused.
    """
    import gradio as gr

    def uploaded(path: str, *thresholds: float) -> list[Any]:
        ref = FileRef(Path(path))
        read = partial(read_limited, ref, max_pixels, models[0].predictor.preprocessing.channels)
        return [None, *respond(models, ref.name.name, read, thresholds)]

    def chosen(event: gr.SelectData, *thresholds: float) -> list[Any]:
        return respond(models, examples[event.index].name, examples[event.index].read, thresholds)

    def moved(result: Result | None, threshold: float) -> Any:
        return gr.skip() if result is None else show(result, threshold)

    with gr.Blocks(title="unetkit demo", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as page:
        gr.HTML("<h1>unetkit demo</h1>Drop an image, or click an example, then move the threshold.")
        with gr.Row():
            upload = gr.File(show_label=False, file_types=list(SUFFIXES), height=150, scale=2)
            gallery = gr.Gallery(
                [example.thumbnail for example in examples],
                show_label=False,
                columns=EXAMPLES,
                height=150,
                scale=5,
                allow_preview=False,
                interactive=False,
                buttons=[],
            )
        outputs: list[Any] = [gr.HTML(elem_classes="notice")]
        sliders = []
        with gr.Row():
            for model in models:
                with gr.Column(min_width=360):
                    gr.HTML(f"<h2>{model.title}</h2>")
                    start = model.predictor.threshold
                    slider = gr.Slider(0, 1, start, step=0.01, label="Threshold", visible=model.is_binary)
                    state, pictures = gr.State(), gr.HTML()
                slider.change(moved, [state, slider], pictures, trigger_mode="always_last", **QUIET)
                sliders.append(slider)
                outputs += [state, pictures]
        upload.upload(uploaded, [upload, *sliders], [upload, *outputs], **IN_TURN)
        gallery.select(chosen, sliders, outputs, **IN_TURN)
        first = partial(respond, models, examples[0].name, examples[0].read)
        page.load(lambda *thresholds: first(thresholds), sliders, outputs, **IN_TURN)
    # As Gradio tells those who wait each time a prediction begins, by default, an error in that ends all predictions:
    # one call of a session without a name does it.
    page.queue(status_update_rate=STATUS_SECONDS)
    return page


@contextmanager
def served(
    models: Sequence[DemoModel], examples: Sequence[Example], max_pixels: int, max_upload_mib: int, host: str, port: int
) -> Iterator[str]:
    """Serve the page until the context ends, then delete what was uploaded.

    Args:
        models: The checkpoints.
        examples: Images to choose from.
        max_pixels: Uploads of more pixels are refused.
        max_upload_mib: Larger uploads are refused.
        host: Address to listen at.
        port: Port to listen at.

    Yields:
        The URL of the page.

    Raises:
        UserError: If Gradio is not installed, or the address can't be listened at.
    """
    with tempfile.TemporaryDirectory(prefix="unetkit-demo-") as folder:
        # Gradio reads these variables when it is imported.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_RUN_HISTORY="False", GRADIO_TEMP_DIR=folder)
        try:
            import gradio as gr
            from starlette.middleware import Middleware
        except ImportError as error:
            raise UserError("the demo", f"needs Gradio ({error})", 'run: pip install "unetkit[demo]"') from error
        page, max_upload = build(models, examples, max_pixels), max_upload_mib * 2**20
        try:
            page.launch(
                server_name=host,
                server_port=port,
                share=False,
                allowed_paths=[folder],
                app_kwargs={
                    "middleware": [Middleware(Guard, folder=Path(folder), max_upload=max_upload)],
                    "exception_handlers": {Exception: refuse},  # of all that is around `Guard`, too
                },
                max_file_size=max_upload,
                state_session_capacity=SESSIONS,
                theme=gr.themes.Default(),
                css=STYLE,
                footer_links=[],
                ssr_mode=False,
                prevent_thread_lock=True,
                quiet=True,
            )
        except OSError as error:
            raise UserError(
                f"host={host} port={port}", "can't be listened at", "if another program uses the port, choose another"
            ) from error
        try:
            with gradio_errors_in_one_line():
                yield str(page.local_url)
        finally:
            page.close(verbose=False)
