"""`python -m twofold_server` is `twofold`."""

from twofold_server.cli import main

if __name__ == "__main__":
    main()
