"""`python -m services.billing.cli`: the same as `meterhall`, where no script is installed."""

from services.billing.cli import main

if __name__ == "__main__":
    main()
