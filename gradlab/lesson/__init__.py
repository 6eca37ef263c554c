"""A page for a class: one cell, measured, with its equations and its numbers."""
