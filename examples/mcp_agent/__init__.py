"""An agent with a model reads files by the tools of an MCP server, which is killed in the middle, and comes back.

    understudy run examples/mcp_agent
    understudy tree examples/mcp_agent

:mod:`.program` says who there is, :mod:`.agents` who they are. The server is that of ``examples/mcp_files``. No
language model is called, and nothing needs a network.
"""
