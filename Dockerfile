# The service of an exported network, on a CPU: see docs/serving.md. It has never been built by its authors.
# docker build -t unetkit-serve . && docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/model.onnx:/model.onnx:ro" unetkit-serve
FROM python:3.12-slim

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY conf conf
# hadolint ignore=DL3013  # the package in this folder has the version of this folder
RUN pip install --no-cache-dir ".[serve]" --extra-index-url https://download.pytorch.org/whl/cpu \
    && useradd --uid 1000 --create-home serve
USER 1000

EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["unetkit", "serve", "host=0.0.0.0", "file=/model.onnx"]
