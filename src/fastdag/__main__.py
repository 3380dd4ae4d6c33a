"""`python -m fastdag`."""

from fastdag.cli import main

if __name__ == "__main__":
    main()
