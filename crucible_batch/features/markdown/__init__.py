"""Plans and reports as GitHub-flavoured Markdown, also in the summary of a GitHub step."""
