"""`python -m bench.gate [JOBS]`: run the study and write results/gate-study.md and .csv."""

import sys

from bench.gate.study import main

main(sys.argv[1:])
