"""The table of the page is what the model prints."""

from pathlib import Path

import mean_costs

PAGE = Path(mean_costs.__file__).with_name("README.md")


def test_the_page_holds_the_table(capsys):
    mean_costs.main()
    assert capsys.readouterr().out in PAGE.read_text(encoding="utf-8")
