"""An https server that gives the files of a folder, and prints each path it was asked for. Standard library only."""

import functools
import http.server
import ssl
import sys


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, _format, *_arguments):
        print(self.path, flush=True)


address, port, certificate, key, folder = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, int(port)), functools.partial(Files, directory=folder))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
