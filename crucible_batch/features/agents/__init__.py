"""The MCP server for agents, within a cap on all that it may spend, and a guide for agents."""
