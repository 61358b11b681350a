"""`python -m app.cli`: the same as `omnivec`."""

from app.cli import main

main()
