"""The examination of a cell: what it gets wrong, each finding with a number and what to do."""
