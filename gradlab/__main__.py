"""`python -m gradlab`."""

from gradlab.cli.app import entry

if __name__ == "__main__":
    entry()
