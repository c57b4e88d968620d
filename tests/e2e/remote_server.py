"""A remote MCP server on the official SDK: remote_server.py TRANSPORT ADDRESS PORT

Prints its URL when it listens, and serves until it is ended. Port 0 is any free one. The header `X-Team: blue` is
asked for, so that a test sees that headers arrive.
"""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

transport, address, port = sys.argv[1:]
server = MCPServer("remote")


@server.tool()
def add(a: int, b: int) -> str:
    return str(a + b)


@server.tool()
def erase() -> str:
    return "erased"


# The SDK guards against names that are rebound, which are those of loopback; the address here is another.
app = server.sse_app(host=address) if transport == "sse" else server.streamable_http_app(host=address)


async def guarded(scope, receive, send):
    if scope["type"] == "http" and (b"x-team", b"blue") not in scope["headers"]:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await app(scope, receive, send)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, int(port)))
listener.listen()
path = "sse" if transport == "sse" else "mcp"
print(f"http://{address}:{listener.getsockname()[1]}/{path}", flush=True)
uvicorn.Server(uvicorn.Config(guarded, log_level="warning")).run(sockets=[listener])
