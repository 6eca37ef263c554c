"""What the pages are about: records of runs and tables of numbers, without words or pictures."""
