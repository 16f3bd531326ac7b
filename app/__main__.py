"""`python -m app` is `tribunal`."""

from app.cli import main

main()
