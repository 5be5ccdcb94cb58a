"""Serves the page to people on this machine, and the panels to pages that are open, so that they stay up to date."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from catalog.connection import connect, newest_snapshot
from catalog.dashboard.live import add_progress
from catalog.dashboard.page import build_page, encode_panels, name_lake
from catalog.dashboard.panels import read_panels
from catalog.progress import read_beside_progress

HOST = "127.0.0.1"
KEPT_S = 60


@contextmanager
def serve_page(lake: Path, catalog: str | None = None, port: int = 0, host: str = HOST) -> Iterator[str]:
    """Serve the page of a lake from threads of this process; gives its address.

    Args:
        lake: The lake's folder.
        catalog: The catalogue when it is not the folder's own.
        port: Where to listen; 0 for any port that is free.
        host: The address to listen at: by default only this machine can ask.

    Raises:
        LakeNotFound: There is no lake in the folder.
        OSError: The port is taken.
    """
    with connect(lake, catalog) as connection:
        lock = threading.Lock()
        made: dict = {}

        def newest() -> dict:
            """The panels of the newest snapshot, never older than a minute: some alarms come with time alone."""
            old = time.time() - made["made_at"] / 1000 > KEPT_S if made else True
            if old or made["snapshot"] != newest_snapshot(connection):
                made.update(read_panels(connection))
            return made

        def panels() -> dict:
            """The newest panels with the progress of this moment."""
            with lock:
                newest_panels, alive = read_beside_progress(lake, newest)
                done = sum(progress.analysed + progress.given_up for progress in alive.values())
                mark = f"{newest_panels['snapshot']}-{newest_panels['made_at']}-{len(alive)}-{done}"
                return add_progress(newest_panels, alive) | {"name": name_lake(lake), "mark": mark}

        class Handler(_Handler):
            read = staticmethod(panels)

        with ThreadingHTTPServer((host, port), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://{host}:{server.server_address[1]}/"
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        panels = self.read()
        mark = f'"{panels["mark"]}"'
        if self.path == "/":
            self._answer(build_page(panels, panels["name"]), "text/html", mark)
        elif self.path == "/panels.json" and self.headers.get("If-None-Match") == mark:
            self._answer("", "application/json", mark, HTTPStatus.NOT_MODIFIED)
        elif self.path == "/panels.json":
            self._answer(encode_panels(panels), "application/json", mark)
        else:
            self._answer("There is nothing here.", "text/plain", mark, HTTPStatus.NOT_FOUND)

    def _answer(self, text: str, kind: str, mark: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": len(body),
            "ETag": mark,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the command."""
