"""A stand-in for the Hugging Face Hub: what its client asks to make, fill and read a repository, over HTTP."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"
COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Repositories in memory: private ones need `TOKEN`.

    Attributes:
        files: The files of each branch of each repository.
        private: Names of repositories that need the token.
        asked: Method and path of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, content: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(content).encode(), Content_Type="application/json", **headers)

    @property
    def is_known(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.is_known:
            self.send_json({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name in self.server.files:
                self.send_json({"error": "exists", "url": f"{self.server.url}/{name}"}, 409)
                return
            self.server.files[name] = {"main": {}}
            if asked.get("private") or asked.get("visibility") == "private":  # by version of the client
                self.server.private.add(name)
            self.send_json({"url": f"{self.server.url}/{name}"})
        elif self.path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            plain = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self.send_json({"files": plain})
        elif "/commit/" in self.path:
            repo, _, branch = self.path.removeprefix("/api/models/").partition("/commit/")
            branch = branch.partition("?")[0]
            files = self.server.files[repo].setdefault(branch, {})
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.url}/{repo}/commit/{COMMIT}"
            self.send_json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self.send_json({"error": "no such request"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        repo, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        branches = self.server.files.get(repo)
        if branches is None or (repo in self.server.private and not self.is_known):
            self.send_json({"error": "Repository not found"}, 401, X_Error_Code="RepoNotFound")
        elif revision not in branches and revision != COMMIT:
            self.send_json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        elif name not in (files := branches.get(revision, branches["main"])):
            self.send_json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            content = files[name]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            facts = {"ETag": etag, "X_Repo_Commit": COMMIT, "Content_Length": str(len(content))}
            self.send(200, content, **facts)


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve a stand-in until the context ends."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
