"""`python -m covid_monai`: the command line where its script is not on the PATH."""

from covid_monai.cli.main import main

main()
