"""A session with an MCP server that reads files; the server is killed, and both come back.

    understudy run examples/mcp_files
    understudy tree examples/mcp_files

:mod:`.server` is the server, an actor system too, in a process of its own; :mod:`.program` is the tree of the client,
and :mod:`.guest` what it does.
"""
