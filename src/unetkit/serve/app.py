"""The HTTP interface of the service: `POST /predict`, `GET /health`, and their description for OpenAPI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from unetkit.errors import UserError, is_out_of_memory
from unetkit.serve.answers import MEDIA_TYPES, Format, Health, Problem, RunLengths, format_of
from unetkit.serve.batcher import STOPPED
from unetkit.serve.limited import Limited
from unetkit.serve.service import Service
from unetkit.server_log import described, log_refused, printable

BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {"schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY["schema"]}}}
IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The image as its file holds it: PNG, JPEG, TIFF, NPY and others; as the body, or in a form.",
        "content": {"application/octet-stream": BINARY, "image/*": BINARY, "multipart/form-data": FORM},
    }
}
MASK: dict[str, Any] = {
    "model": RunLengths,
    "description": "The mask as PNG or run-length codes, or the probabilities as float16 in NumPy's format.",
    "content": {"image/png": BINARY, "application/x-npy": BINARY},
}
REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": why}
    for status, why in {
        400: "The form can't be read, or the upload was broken off.",
        406: "No format that `Accept` takes.",
        408: "The upload took too long.",
        413: "The upload has too many bytes.",
        422: "No image that the network takes, or a parameter that is out of range.",
        503: "Too many requests wait, the service stops, or memory ran out.",
    }.items()
}


def build(service: Service) -> FastAPI:
    """Build the application, which answers while its lifespan lasts.

    Args:
        service: The network and its limits.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with service.running():
            yield

    app = FastAPI(
        title="unetkit serve",
        version=version("unetkit"),
        description=f"Predicts masks of images with {service.name}.",
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _refused,
            UserError: _not_understood,
            RequestValidationError: _out_of_range,
            Exception: _failed,
        },
    )
    app.add_middleware(Limited, most=service.limits.upload_bytes)
    threads = CapacityLimiter(2 * service.limits.batch)  # decode the next images while a batch is computed

    @app.post("/predict", responses={200: MASK, **REFUSED}, response_class=Response, openapi_extra=IMAGE)
    async def predict(
        request: Request,
        form: Annotated[Format | None, Query(alias="format", description="Instead of the header Accept.")] = None,
        threshold: Annotated[
            float | None, Query(ge=0, lt=1, description="Probability above which a pixel is foreground.")
        ] = None,
    ) -> Response:
        """Predict the mask of an image of any size."""
        form = form or _accepted(request)
        if service.requests >= service.limits.requests:
            problem = f"max_requests={service.limits.requests} wait already; ask again later"
            raise HTTPException(503, problem, headers={"Retry-After": "1"})
        service.requests += 1
        try:
            content = await _upload(request)
            return await anyio.to_thread.run_sync(service.answer, content, form, threshold, limiter=threads)
        finally:
            service.requests -= 1

    @app.get("/health")
    async def health() -> Health:
        """Say that the service answers, and what its network takes."""
        return service.health()

    return app


def _accepted(request: Request) -> Format:
    accept = request.headers.get("accept") or "*/*"
    form = format_of(accept)
    if form is None:
        raise HTTPException(406, f"Accept: {accept} names none of {', '.join(MEDIA_TYPES)}; or give ?format=png")
    return form


async def _upload(request: Request) -> bytes:
    """Return the image: the body of the request, or the only file of a form."""
    try:
        return await _content(request)
    except HTTPException:
        raise
    except ClientDisconnect as error:
        raise HTTPException(400, "the upload was broken off") from error
    except Exception as error:  # a malformed form makes its parser raise almost anything
        raise HTTPException(400, f"the form can't be read ({described(error)})") from error


async def _content(request: Request) -> bytes:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body()
    async with request.form(max_files=1, max_fields=8) as form:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise HTTPException(422, "the form has no file; send one, as curl -F image=@FILE does")
        return await files[0].read()


def _problem(request: Request, status: int, detail: str, headers: Any = None) -> JSONResponse:
    detail = printable(detail, 1000)
    log_refused(request.scope, f"{status}, {detail}")
    return JSONResponse({"detail": detail}, status, headers)


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    return _problem(request, error.status_code, str(error.detail), error.headers)


async def _not_understood(request: Request, error: UserError) -> JSONResponse:
    busy = error is STOPPED or (error.__cause__ is not None and is_out_of_memory(error.__cause__))
    return _problem(request, 503 if busy else 422, str(error))


async def _out_of_range(request: Request, error: RequestValidationError) -> JSONResponse:
    lines = (f"{problem['loc'][-1]}={problem.get('input')}: {problem['msg']}" for problem in error.errors())
    return _problem(request, 422, "; ".join(lines))


async def _failed(request: Request, error: Exception) -> JSONResponse:
    log_refused(request.scope, f"500, {described(error)}")
    return JSONResponse({"detail": "the service failed; its log says why"}, 500)
