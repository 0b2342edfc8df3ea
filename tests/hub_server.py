"""A server that answers the few calls of huggingface_hub for models, from memory."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_abcdefghijklmnop"


class Hub:
    """Repositories: for each the commits in order, each a mapping from names to contents."""

    def __init__(self):
        self.repos, self.private, self.tags, self.calls = {}, set(), {}, []

    def commit(self, repo, files):
        """Add a commit; returns its hash."""
        commits = self.repos.setdefault(repo, {})
        oid = hashlib.sha1(f"{repo}{len(commits)}".encode()).hexdigest()
        commits[oid] = files
        return oid

    def find(self, repo, revision):
        """Hash and files of a branch, tag or commit."""
        commits = self.repos[repo]
        oid = list(commits)[-1] if revision == "main" else self.tags.get(revision, revision)
        return oid, commits[oid]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.hub.calls.append((self.command, self.path))
        path, _, _ = self.path.partition("?")
        info = re.fullmatch(r"/api/models/(\w+/[\w.-]+)(/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/(\w+/[\w.-]+)/tree/([^/]+)", path)
        file = re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        match = info or tree or file
        repo = match and match[1]
        if repo not in self.hub.repos or (repo in self.hub.private and not self._known()):
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        try:
            oid, files = self.hub.find(repo, (info[3] or "main") if info else match[2])
        except KeyError:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if info:
            listed = [{"rfilename": name, "size": len(x)} for name, x in files.items()]
            return self._json({"id": repo, "sha": oid, "siblings": listed})
        if tree:
            listed = [("file", name, len(x), _oid(x)) for name, x in files.items()]
            keys = ("type", "path", "size", "oid")
            return self._json([dict(zip(keys, row, strict=True)) for row in listed])
        content = files[file[3]]
        return self._answer(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": oid})

    def do_POST(self):
        self.hub.calls.append((self.command, self.path))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if not self._known():
            return self._answer(401, b'{"error": "Invalid username or password."}', {})
        if self.path == "/api/repos/create":
            fields = json.loads(body)
            repo = f"{fields.get('organization', 'me')}/{fields['name']}"
            is_new = repo not in self.hub.repos
            self.hub.repos.setdefault(repo, {})
            if is_new and (fields.get("private") or fields.get("visibility") == "private"):
                self.hub.private.add(repo)
            return self._json({"url": f"{self._address()}/{repo}"}, 200 if is_new else 409)
        repo = re.match(r"/api/models/(\w+/[\w.-]+)/", self.path)[1]
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": x, "uploadMode": "regular", "shouldIgnore": False} for x in names]
            return self._json({"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        oid = self.hub.commit(repo, files)
        address = f"{self._address()}/{repo}/commit/{oid}"
        return self._json({"success": True, "commitOid": oid, "commitUrl": address})

    def _known(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _json(self, content, status=200):
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def serving():
    """A hub and its address, while the context lasts."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _oid(content):
    return hashlib.sha1(content).hexdigest()
