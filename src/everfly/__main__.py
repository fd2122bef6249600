"""Turn `python -m everfly` into `everfly`."""

from everfly.cli import main

if __name__ == "__main__":
    main(prog_name="everfly")
