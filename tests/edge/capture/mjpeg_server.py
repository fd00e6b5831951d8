"""A camera that sends MJPEG over HTTP, as a program: `python mjpeg_server.py PORT`; 0 is any."""

import http.server
import io
import sys
import time

from PIL import Image

FPS = 20
SIZE = (128, 96)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        begin_s, i = time.monotonic(), 0
        while True:
            data = io.BytesIO()
            Image.new("RGB", SIZE, (60 + i % 100, 0, 0)).save(data, "JPEG")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {data.tell()}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data.getvalue() + b"\r\n")
            except OSError:
                return
            i += 1
            time.sleep(max(0.0, begin_s + i / FPS - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        """Not to stderr."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
