"""``python -m headstart.cli`` is ``headstart``."""

from headstart.cli.process import main

if __name__ == "__main__":
    main()
