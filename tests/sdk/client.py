#!/usr/bin/env python3
"""Lists the tools of an MCP endpoint and calls one, with the official Python SDK (PyPI `mcp`, 2.3 or later).

usage: client.py URL TOKEN ERA [TOOL [JSON]]

ERA is `legacy` (initialize and a session) or `modern` (server/discover, no session). An empty TOKEN sends none.
Prints one JSON object on standard output: era, protocol, server, tools, and result when a tool was called.
Exit code 0 when everything worked, 1 when the tool's result is an error, 2 when the endpoint refused or
speaks another era, 3 when the arguments are wrong.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

MODES = {"legacy": "legacy", "modern": "auto"}
FIRST_MODERN = "2026-07-28"


async def run(url, token, era, tool, arguments):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=MODES[era]) as client:
            protocol = client.protocol_version
            if (protocol >= FIRST_MODERN) != (era == "modern"):
                print(f"asked for the {era} era, got {protocol}", file=sys.stderr)
                return 2
            report = {
                "era": era,
                "protocol": protocol,
                "server": client.server_info.model_dump(mode="json", by_alias=True, exclude_none=True),
                "tools": sorted(tool.name for tool in (await client.list_tools()).tools),
            }
            failed = False
            if tool is not None:
                result = await client.call_tool(tool, arguments)
                failed = bool(result.is_error)
                report["result"] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            print(json.dumps(report))
            return 1 if failed else 0


def leaves(error):
    """The errors inside the groups that task groups make."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def main(arguments):
    if not 3 <= len(arguments) <= 5 or arguments[2] not in MODES:
        print(__doc__, file=sys.stderr)
        return 3
    url, token, era, *call = arguments
    tool = call[0] if call else None
    try:
        parameters = json.loads(call[1]) if len(call) > 1 else {}
        return asyncio.run(run(url, token, era, tool, parameters))
    except json.JSONDecodeError as error:
        print(f"the tool's arguments are not JSON: {error}", file=sys.stderr)
        return 3
    except Exception as error:  # whatever the SDK raises is a refusal, and its text the reason
        for leaf in leaves(error):
            print(f"{type(leaf).__name__}: {leaf}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
