"""Claims of papers and tutorials, judged by runs. Loads no jax."""
