"""A network camera that speaks RTSP, as a program: `python rtsp_server.py PORT [ACCOUNT [PEM]]`.

What a client needs of RFC 2326 (OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN), with RTP in the same TCP
connection (section 10.12) and MPEG-4 video cut at any byte into packets (RFC 6416, section 5). The
account is USER:PASSWORD or empty; a file with a certificate and its key makes it RTSP over TLS.
"""

import base64
import socketserver
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

FPS = 20
HW = (96, 128)
GOP = 10
PACKET_BYTES = 1200


class Encoder:
    """Makes a film without end."""

    def __init__(self) -> None:
        context = av.CodecContext.create("mpeg4", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.height, context.width = HW
        context.pix_fmt = "yuv420p"
        context.framerate = Fraction(FPS)
        context.gop_size = GOP
        context.max_b_frames = 2  # packets come in another order than they are shown
        context.flags |= Flags.global_header
        context.open()
        self.context = context

    @property
    def config(self) -> str:
        """The stream's head, for the description."""
        return (self.context.extradata or b"").hex()

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Coded frames that get brighter and dark again, each with its number."""
        i = 0
        while True:
            picture = np.full((*HW, 3), 60 + i % 100, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            for packet in self.context.encode(frame):
                assert packet.pts is not None
                yield packet.pts, bytes(packet)
            i += 1


class Handler(socketserver.StreamRequestHandler):
    account = ""

    def handle(self) -> None:
        self.encoder = Encoder()
        self.lock = threading.Lock()
        self.playing = threading.Event()
        try:
            while request := self.request_lines():
                if not self.answer(request):
                    break
        except OSError:
            pass
        self.playing.set()

    def request_lines(self) -> list[str]:
        """One request; those of RTCP are passed over."""
        lines: list[str] = []
        while True:
            first = self.rfile.read(1)
            if not first:
                return []
            if first == b"$":
                _, size = struct.unpack(">BH", self.rfile.read(3))
                self.rfile.read(size)
                continue
            line = (first + self.rfile.readline()).decode().strip()
            if not line:
                return lines
            lines.append(line)

    def answer(self, request: list[str]) -> bool:
        method, url, _ = request[0].split()
        heads = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in request[1:])}
        said: dict[str, str] = {"CSeq": heads["cseq"]}
        status, body = "200 OK", ""
        allowed = "Basic " + base64.b64encode(self.account.encode()).decode()
        if self.account and heads.get("authorization") != allowed and method != "OPTIONS":
            status, said["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="camera"'
        elif method == "OPTIONS":
            said["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
        elif method == "DESCRIBE":
            said |= {"Content-Type": "application/sdp", "Content-Base": f"{url}/"}
            body = "\r\n".join(
                [
                    *("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "t=0 0"),
                    *("m=video 0 RTP/AVP 96", "a=rtpmap:96 MP4V-ES/90000"),
                    f"a=fmtp:96 profile-level-id=1;config={self.encoder.config}",
                    *("a=control:track1", ""),
                ]
            )
        elif method == "SETUP":
            said |= {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
        elif method == "PLAY":
            said |= {"Session": "1", "Range": "npt=now-"}
        if body:
            said["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        self.write(f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode())
        if method == "PLAY" and status == "200 OK":
            threading.Thread(target=self.play, daemon=True).start()
        return method != "TEARDOWN"

    def play(self) -> None:
        begin_s, number = time.monotonic(), 0
        for i, (shown, data) in enumerate(self.encoder.frames()):
            for start in range(0, len(data), PACKET_BYTES):
                piece = data[start : start + PACKET_BYTES]
                last = start + PACKET_BYTES >= len(data)
                stamp = (1_000_000 + shown * 90_000 // FPS) & 0xFFFFFFFF
                rtp = struct.pack(">BBHII", 0x80, 96 | last << 7, number & 0xFFFF, stamp, 7) + piece
                number += 1
                try:
                    self.write(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)
                except (OSError, ValueError):
                    return
            if self.playing.wait(max(0.0, begin_s + (i + 1) / FPS - time.monotonic())):
                return

    def write(self, data: bytes) -> None:
        with self.lock:
            self.wfile.write(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address


if __name__ == "__main__":
    Handler.account = sys.argv[2] if len(sys.argv) > 2 else ""
    if len(sys.argv) > 3:
        Server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        Server.tls.load_cert_chain(sys.argv[3])
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
