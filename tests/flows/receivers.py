"""Who is told of alarms in the tests: a webhook and a post office that keep what they hear."""

import email
import email.policy
import json
import socketserver
from http.server import BaseHTTPRequestHandler


class WebhookReceiver(BaseHTTPRequestHandler):
    """Keeps the bodies of requests as text in `server.heard`."""

    def do_POST(self):
        self.server.heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class MailReceiver(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as it takes to be given one letter."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        letter = None
        for line in self.rfile:
            if letter is not None and line == b".\r\n":
                self.server.heard.append(b"".join(letter).decode())
                letter = None
                self.wfile.write(b"250 taken\r\n")
            elif letter is not None:
                letter.append(line)
            elif line.upper().startswith(b"DATA"):
                letter = []
                self.wfile.write(b"354 go on\r\n")
            else:
                self.wfile.write(b"250 ok\r\n")


def read_webhook(heard: str) -> tuple[str, str]:
    """The title and the text of what the webhook was sent."""
    said = json.loads(heard)
    return said["title"], said["message"]


def read_letter(heard: str) -> tuple[str, str]:
    """The subject and the text of a letter."""
    letter = email.message_from_string(heard, policy=email.policy.default)
    text = letter.get_body(("plain", "html")).get_content()
    return letter["Subject"], text
