"""The MCP server: tools for agents, confined to a directory, with a cap on all that they may spend."""
