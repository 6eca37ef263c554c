"""The pages: what goes on them, the templates, and the files that are written."""
