"""Who is told of alarms in the tests: a webhook that keeps what it hears."""

from http.server import BaseHTTPRequestHandler


class WebhookReceiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass
